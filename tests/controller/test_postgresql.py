"""The same controller on a real PostgreSQL: schema, recording, rollouts, several processes. Each test has a database of its own."""

from __future__ import annotations

import itertools
import subprocess
import sys
from contextlib import closing

import pytest
from edgewright.controller.account_tables import AuditRow
from edgewright.controller.audit import AuditLog
from edgewright.controller.comparison import Comparison
from edgewright.controller.conductor import Conductor
from edgewright.controller.database import Database, place_of
from edgewright.controller.deployments import Deployments
from edgewright.controller.exports import EXPORT_KINDS, export
from edgewright.controller.history import DeviceHistory
from edgewright.controller.inventory import DeviceQuery, Inventory, Selector
from edgewright.controller.keys import private_file
from edgewright.controller.orders import Orders
from edgewright.controller.overview import Overview
from edgewright.controller.recorder import Recorder
from edgewright.controller.reports import Reports
from edgewright.controller.rollout_plan import RolloutPlan
from edgewright.controller.rollouts import Rollouts
from edgewright.controller.tables import EventRow, TelemetryRow
from edgewright.core.errors import Faulty, Reason, Rejected, Unfit
from edgewright.core.measurement import Candidate
from edgewright.core.wire.messages import Capabilities, Measurement, Rival, Status, Telemetry
from sqlalchemy import create_engine, func, select, text

NOW_S = 1_800_000_000.0
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server(load_fake):
    with load_fake("postgresql").running_postgresql() as url:
        yield url


@pytest.fixture
def url(server):
    """An empty database."""
    name = f"fleet_{next(NUMBERS)}"
    engine = create_engine(server.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.rpartition("/")[0] + f"/{name}"


@pytest.fixture
def database(url):
    with closing(Database(url)) as database:
        yield database


def succeed_all(database, recorder, event, deployment="d-1") -> None:
    """Every device that has the goal and is not over says that it succeeded."""
    for target in Reports(database).deployment(deployment).devices:
        if not target.is_over:
            recorder.record(event("SUCCEEDED", device=target.device), NOW_S)


def test_the_schema_is_made_once_and_kept(url):
    for _ in range(2):
        with closing(Database(url)) as database:
            orders = Orders(database, "fleet")
            orders.enroll("board-1", NOW_S)
            assert [view.name for view in Reports(database).devices()] == ["board-1"]


def test_a_newer_schema_is_left_alone(url):
    with closing(Database(url)) as database, database.transaction() as session:
        session.execute(text("UPDATE schema_version SET version = 99"))
    with pytest.raises(Unfit) as caught:
        Database(url)

    assert caught.value.code == "database-version"


def test_what_devices_say_is_recorded_once_whatever_the_broker_repeats(database, event):
    orders, recorder = Orders(database, "fleet"), Recorder(database)
    orders.enroll("board-1", NOW_S)
    who = {"fleet": "fleet", "device": "board-1"}
    said = [
        Status(**who, online=True, boot_id="b", session=2**40, agent_version="1"),
        Capabilities(**who, board="orin", machine="aarch64", agent_version="1", memory_mb=8000, cores=6, hardware_class="orin"),
        event("OFFERED"),
        event("ACCEPTED"),
        Telemetry(**who, time_s=NOW_S, uptime_s=1.0),
    ]
    recorder.record_all([*said, *said[:4]], NOW_S)
    recorder.record_all(said[:4], NOW_S)
    with database.reading() as session:
        counts = [session.scalar(select(func.count()).select_from(table)) for table in (EventRow, TelemetryRow)]

    assert counts == [2, 1]
    (device,) = Inventory(database).search(DeviceQuery(text="ORIN", online=True)).devices
    assert (device.name, device.hardware_class) == ("board-1", "orin")


def test_a_rollout_goes_to_its_end_and_back(database, event, order):
    orders, recorder = Orders(database, "fleet"), Recorder(database)
    orders.enroll_many([f"board-{number}" for number in range(30)], NOW_S)
    rollouts, conductor = Rollouts(database, orders), Conductor(database, orders)
    identity = rollouts.start("m", order(), Selector(), RolloutPlan(canary=2), "user:x", NOW_S)
    for _ in range(20):
        conductor.turn(NOW_S)
        succeed_all(database, recorder, event)
    assert rollouts.view(identity, NOW_S).state == "SUCCEEDED"
    rollouts.roll_back(identity, "user:x", NOW_S)
    for _ in range(5):
        conductor.turn(NOW_S)

    assert rollouts.view(identity, NOW_S).state == "ROLLED_BACK"
    assert all(not device.models for device in Inventory(database).search(DeviceQuery()).devices)


def test_two_controllers_conduct_one_rollout_and_do_nothing_twice(url, event, order):
    """In turns, each with a connection of its own; the second one goes on when the first has died."""
    with closing(Database(url)) as one, closing(Database(url)) as other:
        orders = Orders(one, "fleet")
        orders.enroll_many([f"board-{number}" for number in range(30)], NOW_S)
        Rollouts(one, orders).start("m", order(), Selector(), RolloutPlan(canary=2), "user:x", NOW_S)
        first, second = Conductor(one, orders), Conductor(other, Orders(other, "fleet"))
        for number in range(30):
            if number < 3:
                first.turn(NOW_S)
            second.turn(NOW_S)
            succeed_all(other, Recorder(other), event)
        view = Rollouts(other, Orders(other, "fleet")).view("latest", NOW_S)
        actions = sorted(entry.action for entry in AuditLog(other).entries(view.rollout))

    assert view.state == "SUCCEEDED"
    assert actions == ["rollout.finish", *["rollout.start"], *["rollout.wave"] * (len(view.waves) - 1)]


def test_writers_in_several_processes_lose_nothing(url):
    code = "import sys, time\nfrom edgewright.controller.audit import note\nfrom edgewright.controller.database import Database\n"
    code += "from edgewright.controller.account_tables import TokenRow\ndatabase = Database(sys.argv[1])\nfor number in range(20):\n"
    code += "    with database.transaction() as session:\n        row = session.get(TokenRow, 'one')\n        count = int(row.name) + 1\n"
    code += "        row.name = str(count)\n        note(session, sys.argv[2], 'count', str(count), 1.0)\ndatabase.close()\n"
    from edgewright.controller.account_tables import TokenRow

    with closing(Database(url)) as database, database.transaction() as session:
        session.add(TokenRow(id="one", name="0", role="viewer", hash="", created_s=1.0))
    processes = [subprocess.Popen([sys.executable, "-I", "-c", code, url, name]) for name in ("a", "b", "c")]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    with closing(Database(url)) as database, database.reading() as session:
        assert session.get(TokenRow, "one").name == "60"
        subjects = list(session.scalars(select(AuditRow.subject)))

    assert sorted(map(int, subjects)) == list(range(1, 61))


def test_a_reader_sees_one_state_while_others_write(url):
    with closing(Database(url)) as one, closing(Database(url)) as other:
        Orders(one, "fleet").enroll("a", NOW_S)
        with one.reading() as session:
            before = session.scalar(text("SELECT count(*) FROM devices"))
            Orders(other, "fleet").enroll("b", NOW_S)
            after = session.scalar(text("SELECT count(*) FROM devices"))

    assert (before, after) == (1, 1)


def test_a_file_of_the_state_folder_says_which_database_it_is(paths, url):
    assert place_of(paths) == paths.database
    private_file(paths.database_url, url + "\n")
    with closing(Database(place_of(paths))) as database:
        assert not database.is_sqlite
    paths.database_url.chmod(0o644)
    with pytest.raises(Rejected) as caught:
        place_of(paths)

    assert caught.value.code == "secret-readable"


def test_a_server_that_is_not_there_is_told_without_its_password():
    with pytest.raises(Faulty) as caught:
        Database("postgresql://fleet:secret-word@127.0.0.1:1/fleet")

    assert caught.value.code == "database-failed"
    assert "secret-word" not in caught.value.message


@pytest.mark.parametrize("address", ["mysql://x/y", "nonsense", "", "sqlite:///x"])
def test_an_address_of_another_kind_is_refused(address):
    with pytest.raises(Rejected) as caught:
        Database(address)

    assert caught.value.code == "database-address-wrong"


def test_what_the_page_shows_is_the_same(database, order, event):
    orders, recorder = Orders(database, "fleet"), Recorder(database)
    orders.enroll_many(["board-1", "board-2"], NOW_S)
    orders.deploy("m", order(), [], NOW_S, "user:x")
    rivals = (Rival(name="int8", backend="ort", size_bytes=1, latency_p50_ms=1.0, sqnr_db=20.0),)
    chosen = Candidate(name="int8", backend="ort", path="e", size_bytes=1, latency_ms=None, energy_mj=None, fidelity=None)
    recorder.record(event("MEASURED", measurement=Measurement(chosen=chosen, baseline=None, verdict=None, rivals=rivals)), NOW_S)
    recorder.record(event("FAILED", reason=Reason("x", "it failed", "look", "unfit")), NOW_S)
    overview, deployments, history, comparison = Overview(database), Deployments(database), DeviceHistory(database), Comparison(database)
    look, (listed,) = overview.look(NOW_S), deployments.all()

    assert [(entry.state, entry.goals) for entry in look.states] == [("FAILED", 1), ("", 1)]
    assert [(entry.code, entry.devices) for entry in look.refusals] == [("x", 1)]
    assert {(entry.state, entry.goals) for entry in listed.states} == {("FAILED", 1), ("", 1)}
    assert [line.device for line in deployments.targets("latest", states=("FAILED",))] == ["board-1"]
    assert ([goal.state for goal in history.detail("board-1").goals], len(history.events("board-1"))) == (["FAILED"], 2)
    assert (history.last_profile("board-1"), history.commands("board-1"), history.telemetry("board-1")) == (None, [], [])
    assert [one.engine for one in comparison.of_goals()] == ["fp32", "chosen"]
    assert [one.engine for one in comparison.points("d-1")] == ["int8"]
    assert [len(list(export(database, kind, "json"))) for kind in EXPORT_KINDS] == [2, 1, 1]
