"""The controller's database: SQLite in write-ahead mode, shared by the serving process and the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from ..core.errors import Faulty
from .tables import Table

BUSY_MS = 10_000


class Database:
    """Opens sessions. Threads and processes may share the file; each unit of work is one transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = create_engine(f"sqlite:///{path}")
        event.listen(self._engine, "connect", _set_pragmas)
        with self._errors():
            Table.metadata.create_all(self._engine)
        self._watcher: Any = None

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that is committed on leaving, and rolled back on an error.

        Raises:
            Faulty: ``database-failed``.
        """
        with self._errors(), Session(self._engine, expire_on_commit=False) as session:
            if self._engine.dialect.name == "sqlite":
                # Take the write lock first: a reader that becomes a writer could not wait for another one.
                session.execute(text("BEGIN IMMEDIATE"))
            yield session
            session.commit()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        with self._errors(), Session(self._engine) as session:
            yield session

    def change_mark(self) -> int:
        """A number that changes when another connection has changed the database (SQLite's ``data_version``). For one thread."""
        with self._errors():
            if self._watcher is None:
                self._watcher = self._engine.connect()
            mark = int(self._watcher.execute(text("PRAGMA data_version")).scalar_one())
            self._watcher.rollback()
            return mark

    def close(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
        self._engine.dispose()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            raise Faulty("database-failed", f"the database {self._path} failed: {error.orig}", "Check the disk; is the file a fleet's?") from error


def _set_pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by us, not by the driver's guess
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={BUSY_MS}", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
