"""The controller's database: SQLite in write-ahead mode, shared by the serving process and the command line."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, create_engine, event, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from ..core.errors import Faulty, Unfit
from .tables import Table

BUSY_MS = 10_000
SCHEMA_VERSION = 2
# Later versions have added whole tables only: making what is missing is the whole migration.
GROWABLE_VERSIONS = frozenset({0, 1})


class Database:
    """Opens sessions. Threads and processes may share the file; each unit of work is one transaction.

    Raises:
        Faulty: ``database-failed``.
        Unfit: ``database-version``: another version of this program made the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = create_engine(URL.create("sqlite", database=str(path)))
        event.listen(self._engine, "connect", _set_pragmas)
        self._watcher: Any = None
        self._create()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that is committed on leaving, and rolled back on an error.

        Raises:
            Faulty: ``database-failed``.
        """
        with self._errors(), Session(self._engine, expire_on_commit=False) as session:
            # Take the write lock first: a reader that becomes a writer could not wait for another one.
            session.execute(text("BEGIN IMMEDIATE"))
            yield session
            session.commit()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees the database as it was at its first look, whatever others write meanwhile."""
        with self._errors(), Session(self._engine) as session:
            session.execute(text("BEGIN"))
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

    def _create(self) -> None:
        """Make the tables in a new file; several processes may try at once."""
        with self._errors(), self._engine.connect() as connection:
            connection.execute(text("BEGIN IMMEDIATE"))
            version = int(connection.execute(text("PRAGMA user_version")).scalar_one())
            if version not in {*GROWABLE_VERSIONS, SCHEMA_VERSION}:
                message = f"the database {self._path} has version {version}, this program knows {SCHEMA_VERSION}"
                raise Unfit("database-version", message, "Use the version of edgewright that made it, or another state folder")
            if version in GROWABLE_VERSIONS:
                Table.metadata.create_all(connection)
                connection.execute(text(f"PRAGMA user_version = {SCHEMA_VERSION}"))
            connection.commit()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (DatabaseError, sqlite3.Error) as error:  # the second comes from the pragmas, which SQLAlchemy does not wrap
            why = error.orig if isinstance(error, DatabaseError) else error
            raise Faulty("database-failed", f"the database {self._path} failed: {why}", "Check the disk; is the file a fleet's?") from error


def _set_pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by us, not by the driver's guess
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={BUSY_MS}", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
