from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from edgewright.controller.database import Database
from edgewright.controller.migrations import SCHEMA_VERSION
from edgewright.controller.reports import Reports
from edgewright.controller.tables import Device, Target
from edgewright.core.wire.messages import Event, encode

OLD_SCHEMA = Path(__file__).with_name("schema_2.sql").read_text(encoding="utf-8")
ADDED_IN_2 = ("profiles", "profile_parts")


def old_database(path: Path, version: int, *events: Event) -> None:
    """A file as the release of that version made it, with one device and what it said."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLD_SCHEMA)
        for table in ADDED_IN_2 if version == 1 else ():
            connection.execute(f"DROP TABLE {table}")
        connection.execute("INSERT INTO devices VALUES ('board-1', 1.0, 1, 7, 'boot', 2.0, NULL, NULL, 41, NULL, 0.0, 0)")
        connection.execute("INSERT INTO targets VALUES ('d-1', 'board-1', 'ACCEPTED', 1, 2.0, NULL, NULL, NULL)")
        for item in events:
            row = (item.device, item.id, item.sequence, item.deployment, item.state, item.time_s, 3.0, encode(item))
            connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()


def shape(path: Path) -> dict[str, set[tuple[str, str]]]:
    """Columns with their types, and indices, of every table."""
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")]
        columns = {name: {(row[1], row[2].replace("DOUBLE", "FLOAT")) for row in connection.execute(f"PRAGMA table_info({name})")} for name in tables}
        for name in tables:
            columns[name] |= {(row[1], "index") for row in connection.execute(f"PRAGMA index_list({name})") if not row[1].startswith("sqlite")}
        return columns


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_database_becomes_what_a_new_one_is(tmp_path, version):
    old_database(tmp_path / "old.sqlite", version)
    for name in ("old", "new"):
        Database(tmp_path / f"{name}.sqlite").close()

    assert shape(tmp_path / "new.sqlite") == shape(tmp_path / "old.sqlite")


@pytest.mark.parametrize("version", [1, 2])
def test_what_an_older_database_knew_is_kept(tmp_path, version, event):
    said = [event("OFFERED"), event("ACCEPTED")]
    old_database(tmp_path / "old.sqlite", version, *said)
    with closing(Database(tmp_path / "old.sqlite")) as database:
        kept = [item for _, item in Reports(database).events()]
        with database.reading() as session:
            device, target = session.get(Device, "board-1"), session.get(Target, ("d-1", "board-1"))

    assert kept == said
    assert device is not None
    assert target is not None
    assert (device.session, device.sequence, device.hardware_class, device.retired_s) == (7, 41, "", None)
    assert (target.state, target.sequence) == ("ACCEPTED", 0)


def test_a_migrated_database_has_the_new_version_and_is_migrated_once(tmp_path):
    old_database(tmp_path / "old.sqlite", 2)
    for _ in range(2):
        Database(tmp_path / "old.sqlite").close()
    with closing(sqlite3.connect(tmp_path / "old.sqlite")) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()

    assert version == SCHEMA_VERSION
