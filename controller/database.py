"""The controller's database: SQLite in write-ahead mode, or PostgreSQL. Shared by serving processes and the command line.

One writer at a time, on both: each unit of work takes the write lock first (SQLite's own; PostgreSQL's advisory lock), so that what is read in it
stays true until it commits, and nothing has to be tried twice.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError
from sqlalchemy.orm import Session

from ..core.errors import Faulty, Rejected, Unfit
from .migrations import SCHEMA_VERSION, bring_up, version_of
from .paths import FleetPaths

BUSY_MS = 10_000
# Any number that nobody else in this database uses: "edgewrig" in ASCII.
ADVISORY_LOCK = 0x6564676577726967


class Database:
    """Opens sessions. Threads and processes may share it; each unit of work is one transaction. `where` is a file, or a ``postgresql://`` URL.

    Raises:
        Faulty: ``database-failed``.
        Unfit: ``database-version``: another version of this program made it; ``database-driver-missing``.
        Rejected: ``database-address-wrong``.
    """

    def __init__(self, where: Path | str) -> None:
        url = _url(where)
        self.is_sqlite = url.drivername == "sqlite"
        self._name = str(where) if self.is_sqlite else url.render_as_string(hide_password=True)
        try:
            options: dict[str, Any] = {} if self.is_sqlite else {"pool_pre_ping": True, "isolation_level": "REPEATABLE READ"}
            self._engine = create_engine(url, **options)
        except ImportError as error:
            raise Unfit("database-driver-missing", f"{url.drivername} needs {error.name}", "pip install 'edgewright[postgresql]'") from error
        if self.is_sqlite:
            event.listen(self._engine, "connect", _set_pragmas)
        self._watcher: Any = None
        self._looks = 0
        try:
            self._create()
        except BaseException:
            self._engine.dispose()
            raise

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that is committed on leaving, and rolled back on an error.

        Raises:
            Faulty: ``database-failed``.
        """
        with self._errors(), Session(self._engine, expire_on_commit=False) as session:
            self._lock(session.connection())
            yield session
            session.commit()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees the database as it was at its first look, whatever others write meanwhile."""
        with self._errors(), Session(self._engine) as session:
            if self.is_sqlite:
                session.execute(text("BEGIN"))
            yield session

    def change_mark(self) -> int:
        """A number that changes when another connection has changed the database (SQLite's ``data_version``). For one thread.

        PostgreSQL does not say it for nothing: there the number is another one every time.
        """
        if not self.is_sqlite:
            self._looks += 1
            return self._looks
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

    def _lock(self, connection: Connection) -> None:
        """Take the write lock first: a reader that becomes a writer could not wait for another one."""
        if self.is_sqlite:
            connection.execute(text("BEGIN IMMEDIATE"))
            return
        # PostgreSQL takes its picture of the data at the first statement, which may be before the lock is ours: that picture must not be used.
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL READ COMMITTED"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ADVISORY_LOCK})

    def _create(self) -> None:
        """Make the tables in a new database; several processes may try at once."""
        with self._errors(), self._engine.connect() as connection:
            self._lock(connection)
            version = version_of(connection)
            if version > SCHEMA_VERSION:
                message = f"the database {self._name} has version {version}, this program knows {SCHEMA_VERSION}"
                raise Unfit("database-version", message, "Use the version of edgewright that made it, or another state folder")
            if version < SCHEMA_VERSION:
                bring_up(connection, version)
            connection.commit()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (DatabaseError, sqlite3.Error) as error:  # the second comes from the pragmas, which SQLAlchemy does not wrap
            why = error.orig if isinstance(error, DatabaseError) else error
            raise Faulty("database-failed", f"the database {self._name} failed: {why}", "Check the disk; is the file a fleet's?") from error


def place_of(paths: FleetPaths) -> Path | str:
    """Where the fleet's database is: the URL in the file ``keys/database`` where there is one, else SQLite in the state folder.

    Raises:
        Rejected: ``secret-readable``: others on this machine could read the file.
    """
    try:
        with paths.database_url.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise Rejected("secret-readable", f"others can read {paths.database_url}", f"chmod 600 {paths.database_url}")
            return file.read(4096).strip()
    except FileNotFoundError:
        return paths.database


def _url(where: Path | str) -> URL:
    if isinstance(where, Path):
        return URL.create("sqlite", database=str(where))
    hint = "Use postgresql://USER:PASSWORD@HOST/NAME"
    try:
        url = make_url(where)
        if url.drivername in {"postgres", "postgresql"}:
            return url.set(drivername="postgresql+psycopg")
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise Rejected("database-address-wrong", "the database's address is not understood", hint) from error
    raise Rejected("database-address-wrong", f"a database of the kind {url.drivername!r} is not supported", hint)


def _set_pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by us, not by the driver's guess
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={BUSY_MS}", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
