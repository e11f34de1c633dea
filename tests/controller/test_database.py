from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from edgewright.controller import database as module
from edgewright.controller.database import Database
from edgewright.controller.tables import Device
from edgewright.core.errors import Faulty, Unfit
from sqlalchemy import select


def add(database: Database, name: str) -> None:
    with database.transaction() as session:
        session.add(Device(name=name, enrolled_s=1.0))


def names(database: Database) -> list[str]:
    with database.reading() as session:
        return list(session.scalars(select(Device.name).order_by(Device.name)))


def test_what_was_committed_is_there_after_a_restart(database: Database, tmp_path: Path) -> None:
    add(database, "a")
    with closing(Database(tmp_path / "state" / "fleet.sqlite")) as again:
        assert names(again) == ["a"]


def test_an_error_rolls_everything_back(database: Database) -> None:
    def fail_late() -> None:
        with database.transaction() as session:
            session.add(Device(name="a", enrolled_s=1.0))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_late()
    assert names(database) == []


def test_a_reader_sees_one_state_while_others_write(database: Database, tmp_path: Path) -> None:
    add(database, "a")
    with closing(Database(tmp_path / "state" / "fleet.sqlite")) as other, database.reading() as session:
        before = list(session.scalars(select(Device.name)))
        add(other, "b")
        after = list(session.scalars(select(Device.name)))

    assert (before, after) == (["a"], ["a"])
    assert names(database) == ["a", "b"]


def test_the_mark_changes_with_every_change_of_another_connection_and_only_then(database: Database, tmp_path: Path) -> None:
    first = database.change_mark()
    assert database.change_mark() == first
    add(database, "a")  # this too is another connection of the pool
    second = database.change_mark()
    with closing(Database(tmp_path / "state" / "fleet.sqlite")) as other:
        add(other, "b")
        third = database.change_mark()
        names(other)

    assert len({first, second, third}) == 3
    assert database.change_mark() == third


def test_several_processes_may_make_and_write_one_database(tmp_path: Path) -> None:
    code = "import sys\nfrom pathlib import Path\nfrom edgewright.controller.database import Database\n"
    code += "from edgewright.controller.tables import Device\nprint(flush=True)\nsys.stdin.readline()\ndatabase = Database(Path(sys.argv[1]))\n"
    code += "for number in range(20):\n    with database.transaction() as session:\n"
    code += "        session.add(Device(name=f'{sys.argv[2]}-{number}', enrolled_s=1.0))"
    path = tmp_path / "fleet.sqlite"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-I", "-c", code, str(path), name], **pipes) for name in ("a", "b", "c")]  # type: ignore[call-overload]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("all at once\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)

    assert [process.returncode for process in processes] == [0, 0, 0]
    with closing(Database(path)) as database:
        assert len(names(database)) == 60


@pytest.mark.parametrize("name", ["what?.sqlite", "100%.sqlite", "a b#c.sqlite", "ä.sqlite"])
def test_a_path_is_a_path_whatever_is_in_it(tmp_path: Path, name: str) -> None:
    with closing(Database(tmp_path / name)) as database:
        add(database, "a")

    assert name in [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize("content", [b"this is not a database, but long enough to be read as one" * 100, b"SQLite format 3\0" + bytes(100)])
def test_a_file_that_is_no_database_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fleet.sqlite").write_bytes(content)
    with pytest.raises(Faulty) as faulty:
        Database(tmp_path / "fleet.sqlite")

    assert faulty.value.code == "database-failed"
    assert str(tmp_path) in faulty.value.message


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Faulty) as faulty:
        Database(tmp_path / "absent" / "fleet.sqlite")

    assert faulty.value.code == "database-failed"


def test_a_database_of_another_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "fleet.sqlite"
    Database(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(Unfit) as unfit:
        Database(path)

    assert unfit.value.code == "database-version"


def test_a_lock_that_is_held_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_MS", 10)
    path = tmp_path / "fleet.sqlite"
    with closing(Database(path)) as database, closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(Faulty) as faulty:
            add(database, "a")
        holder.execute("ROLLBACK")
        add(database, "a")

        assert faulty.value.code == "database-failed"
        assert names(database) == ["a"]
