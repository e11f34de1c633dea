"""The database's version, and the way from each earlier one to it. One step per version; a step runs once, inside the transaction of `bring_up`.

SQLite keeps the version in ``user_version``, where it has been from the first release on; PostgreSQL in a table of one row.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, text

from . import account_tables, rollout_tables  # the modules register their tables
from .tables import EventRow, Table

SCHEMA_VERSION = 5

assert account_tables.AuditRow.metadata is rollout_tables.RolloutRow.metadata is Table.metadata


def version_of(connection: Connection) -> int:
    """0 = there is nothing yet."""
    if connection.dialect.name == "sqlite":
        return int(connection.execute(text("PRAGMA user_version")).scalar_one())
    connection.execute(text("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"))
    return int(connection.execute(text("SELECT max(version) FROM schema_version")).scalar() or 0)


def bring_up(connection: Connection, version: int) -> None:
    """From `version`, which is below `SCHEMA_VERSION`, to it. The caller holds the write lock and commits."""
    for step in range(version + 1, SCHEMA_VERSION + 1) if version else ():
        _STEPS.get(step, _add_tables)(connection)
    Table.metadata.create_all(connection)
    if connection.dialect.name == "sqlite":
        connection.execute(text(f"PRAGMA user_version = {SCHEMA_VERSION}"))
    else:
        connection.execute(text("DELETE FROM schema_version"))
        connection.execute(text("INSERT INTO schema_version VALUES (:version)"), {"version": SCHEMA_VERSION})


def _add_tables(_connection: Connection) -> None:
    """Whole tables only: `bring_up` makes what is missing."""


def _to_3(connection: Connection) -> None:
    """Hardware classes, certificates and counted sums; events get a number of their own, which PostgreSQL has not by itself."""
    for table, column in (
        ("devices", "unsent_s FLOAT"),
        ("devices", "hardware_class VARCHAR NOT NULL DEFAULT ''"),
        ("devices", "certificate VARCHAR NOT NULL DEFAULT ''"),
        ("devices", "certificate_expires_s FLOAT"),
        ("devices", "retired_s FLOAT"),
        ("goals", "retry INTEGER NOT NULL DEFAULT 0"),
        ("targets", "sequence INTEGER NOT NULL DEFAULT 0"),
        ("targets", "retried_after INTEGER NOT NULL DEFAULT 0"),
    ):
        connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {column}"))
    for index in ("events_by_deployment", "events_by_device"):
        connection.execute(text(f"DROP INDEX {index}"))
    connection.execute(text("ALTER TABLE events RENAME TO events_2"))
    Table.metadata.create_all(connection, tables=[Table.metadata.tables[EventRow.__tablename__]])
    columns = "device, event, sequence, deployment, state, time_s, received_s, body"
    connection.execute(text(f"INSERT INTO events (id, {columns}) SELECT rowid, {columns} FROM events_2 ORDER BY rowid"))  # noqa: S608 - our own names
    connection.execute(text("DROP TABLE events_2"))
    for name, on in (
        ("ix_devices_unsent_s", "devices (unsent_s)"),
        ("ix_devices_hardware_class", "devices (hardware_class)"),
        ("targets_by_device", "targets (device)"),
        ("commands_by_device", "commands (device)"),
        ("commands_waiting", "commands (sent_s)"),
    ):
        connection.execute(text(f"CREATE INDEX {name} ON {on}"))


def _to_4(connection: Connection) -> None:
    """Wipes are counted."""
    connection.execute(text("ALTER TABLE devices ADD COLUMN wipe INTEGER NOT NULL DEFAULT 0"))


_STEPS: dict[int, Callable[[Connection], None]] = {3: _to_3, 4: _to_4}
