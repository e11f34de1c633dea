from __future__ import annotations

import csv
import io
import json
import time
from contextlib import closing

import pytest

pytest.importorskip("sqlalchemy", reason="the controller needs SQLAlchemy: pip install 'edgewright[controller]'")

from edgewright.controller.database import Database
from edgewright.controller.paths import FleetPaths
from edgewright.controller.recorder import Recorder
from edgewright.core.errors import Reason
from edgewright.core.wire.messages import Event


@pytest.fixture
def fleet(edgewright, tmp_path, tiny_classifier):
    """Two boards, of which one has refused ``m``."""
    state = tmp_path / "state"
    edgewright("fleet", "keys", "init", "--state", state)
    for name in ("board-0", "board-1"):
        edgewright("fleet", "enroll", name, "--state", state, "--out", tmp_path / name, "--label", "note=x")
    deployed = edgewright("fleet", "deploy", tiny_classifier, "--name", "m", "--state", state, "--json").json["deployment"]
    with closing(Database(FleetPaths(state).database)) as database:
        reason = Reason("disk-full", "no room", "Make some", "unfit")
        event = {"fleet": "fleet", "device": "board-0", "id": "e", "sequence": 1, "model": "m", "time_s": 1.0, "attempt": 1}
        Recorder(database).record(Event(**event, deployment=deployed, state="FAILED", reason=reason), time.time())
    return lambda *words: edgewright("fleet", *words, "--state", state)


def test_a_terminal_shows_what_the_page_shows(fleet):
    overview, shown = fleet("overview", "--json").json, fleet("show", "board-0", "--json").json
    (listed,) = fleet("deployments", "--json").json["deployments"]
    compared = fleet("compare", "--state-is", "FAILED", "--json").json

    assert (overview["devices"], [(entry["code"], entry["devices"]) for entry in overview["refusals"]]) == (2, [("disk-full", 1)])
    assert [event["state"] for event in shown["events"]] == ["FAILED"]
    assert shown["device"]["goals"][0]["reason"]["code"] == "disk-full"
    assert (listed["model"], {entry["state"]: entry["goals"] for entry in listed["states"]}) == ("m", {"FAILED": 1, "": 1})
    assert ([target["device"] for target in compared["devices"]], compared["engines"]) == (["board-0"], [])
    for words in (["overview"], ["show", "board-0"], ["compare"]):
        assert "no room" in fleet(*words).out
        assert "Make some" in fleet(*words).out
    assert fleet("show", "board-9", "--json").code == "device-unknown"


def test_what_was_deployed_is_rolled_out_again_and_all_of_it_is_exported(fleet, tmp_path):
    again = fleet("rollout-again", "--label", "note=x", "--canary", "1", "--json")
    rows = list(csv.DictReader(io.StringIO(fleet("export", "devices").out)))
    lines = [json.loads(line) for line in fleet("export", "audit", "--format", "json").out.splitlines()]
    written = fleet("export", "measurements", "--out", tmp_path / "m.csv", "--json")

    assert again.status == 0, again.err
    assert fleet("rollouts", again.json["rollout"], "--json").json["model"] == "m"
    assert [(row["name"], row["labels"]) for row in rows] == [("board-0", "note=x"), ("board-1", "note=x")]
    assert {"deployment.start", "rollout.start"} <= {line["action"] for line in lines}
    assert (tmp_path / "m.csv").read_text().startswith("deployment,device,")
    assert written.json["kind"] == "measurements"
    assert fleet("export", "devices", "--json").status == 2
