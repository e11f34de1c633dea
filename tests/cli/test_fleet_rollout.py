from __future__ import annotations

import time
from contextlib import closing

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("sqlalchemy", reason="the controller needs SQLAlchemy: pip install 'edgewright[controller]'")

from edgewright.controller.conductor import Conductor
from edgewright.controller.database import Database
from edgewright.controller.orders import Orders
from edgewright.controller.paths import FleetPaths
from edgewright.controller.recorder import Recorder
from edgewright.controller.rollouts import Rollouts
from edgewright.core.errors import Reason
from edgewright.core.wire.messages import Event


class Site:
    """A fleet of four boards, worked on by the command line; `conduct` is the serving process."""

    def __init__(self, edgewright, folder, model) -> None:
        self.run, self.state, self.model = edgewright, folder / "state", model
        edgewright("fleet", "keys", "init", "--state", self.state)
        self.names = [f"board-{number}" for number in range(4)]
        for name in self.names:
            edgewright("fleet", "enroll", name, "--state", self.state, "--out", folder / name, "--label", f"site={'a' if name < 'board-2' else 'b'}")

    def fleet(self, *words):
        return self.run("fleet", *words, "--state", self.state, "--json")

    def start(self, *options):
        return self.fleet("rollout", self.model, "--name", "m", "--canary", "1", "--on-unproven", "promote", *options)

    def conduct(self, ending: str | None = "SUCCEEDED") -> None:
        """Turns; each released board ends as it is told, unless None."""
        with closing(Database(FleetPaths(self.state).database)) as database:
            orders = Orders(database, "fleet")
            conductor, rollouts, recorder = Conductor(database, orders), Rollouts(database, orders), Recorder(database)
            for turn in range(12):
                conductor.turn(time.time())
                view = rollouts.view("latest", time.time())
                for member in rollouts.members(view.rollout):
                    if member.released_s is not None and member.state is None and ending is not None:
                        reason = Reason("x", "it failed", "look") if ending != "SUCCEEDED" else None
                        event = {"fleet": "fleet", "device": member.device, "id": f"e{turn}", "sequence": turn + 1, "model": "m", "time_s": 1.0}
                        message = Event(**event, deployment=view.deployment, attempt=1, state=ending, reason=reason)  # type: ignore[arg-type]
                        recorder.record(message, time.time())

    def state_of(self):
        return self.fleet("rollouts", "latest").json["state"]


@pytest.fixture
def site(edgewright, tmp_path, tiny_classifier):
    return Site(edgewright, tmp_path, tiny_classifier)


def test_a_rollout_begins_and_goes_to_its_end(site):
    started = site.start()
    assert started.status == 0
    site.conduct()
    shown = site.fleet("rollouts", started.json["rollout"], "--watch")

    assert shown.status == 0
    assert (shown.json["state"], [wave["succeeded"] for wave in shown.json["waves"]]) == ("SUCCEEDED", [1, 3])


def test_a_rollout_goes_to_labels(site):
    site.start("--label", "site=b")
    site.conduct()

    assert [device["name"] for device in site.fleet("devices", "--label", "site=b").json["devices"]] == ["board-2", "board-3"]
    assert sum(wave["size"] for wave in site.fleet("rollouts", "latest").json["waves"]) == 2


def test_a_failure_stops_it_says_why_and_exits_with_1(site):
    site.start()
    site.conduct("FAILED")
    shown = site.fleet("rollouts", "latest")

    assert shown.status == 1
    assert shown.json["reason"]["code"] == "rollout-failures"


def test_what_people_order_is_done(site):
    identity = site.start("--ask", "start").json["rollout"]
    site.conduct(None)
    assert site.state_of() == "WAITING"
    seen = []
    for verb in ("approve", "pause", "resume", "cancel"):
        ordered = site.fleet(verb, identity)
        assert ordered.status == 0, ordered.err
        seen.append(ordered.json["state"])

    assert seen == ["RUNNING", "PAUSED", "RUNNING", "CANCELED"]


def test_failed_devices_are_tried_again(site):
    site.start("--max-failed-share", "1", "--min-succeeded-share", "0")
    site.conduct("FAILED")
    retried = site.fleet("retry", "latest")

    assert (retried.status, retried.json["devices"]) == (0, 4)


def test_a_rollout_is_rolled_back_by_its_id(site):
    identity = site.start().json["rollout"]
    site.conduct()
    assert site.fleet("rollback", identity).json["state"] == "ROLLING_BACK"
    site.conduct(None)

    assert site.state_of() == "ROLLED_BACK"


def test_a_model_is_rolled_back_on_named_devices_only(site):
    assert site.run("fleet", "rollback", "m", "--state", site.state).status == 2


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--label", "site=nowhere"), "no-device-selected"),
        (("--label", "site"), "label-malformed"),
        (("--device", "board-9"), "device-unknown"),
        (("--share", "0.5", "--share", "0.1"), "rollout-plan-malformed"),
        (("--confidence", "1.5"), "rollout-plan-malformed"),
        (("--activation", "at night"), "activation-malformed"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(site, options, code):
    refused = site.start(*options)

    assert (refused.status, refused.code) == (1, code)
    assert site.fleet("rollouts").json["rollouts"] == []


def test_a_rollout_that_is_not_there_is_told(site):
    assert site.fleet("pause", "r-nothing").code == "rollout-unknown"


def test_rollouts_are_listed_for_people(site):
    site.start()
    site.conduct()
    listed = site.run("fleet", "rollouts", "--state", site.state)
    shown = site.run("fleet", "rollouts", "latest", "--state", site.state)

    assert "SUCCEEDED" in listed.out
    assert "4 of 4 succeeded" in listed.out
    assert "wave" in shown.out


def test_every_order_stands_in_the_audit_log(site):
    identity = site.start().json["rollout"]
    site.fleet("cancel", identity)
    entries = site.fleet("audit", identity).json["entries"]

    assert [entry["action"] for entry in entries] == ["rollout.cancel", "rollout.start"]
    assert entries[0]["actor"].startswith("user:")
    assert "rollout.cancel" in site.run("fleet", "audit", "--state", site.state).out


# --- approvals ---


def test_a_model_is_approved_by_the_keys_of_the_state_folder(site):
    site.start()
    with closing(Database(FleetPaths(site.state).database)) as database:
        from edgewright.controller.tables import Deployment

        with database.reading() as session:
            bodies = [row.body for row in session.query(Deployment)]

    assert all(b'"approval":{' in body for body in bodies)


def test_without_the_offline_keys_an_approval_has_to_be_given(site, tmp_path):
    offline = tmp_path / "offline"
    offline.mkdir()
    for role in ("root", "targets"):
        (site.state / "keys" / f"{role}.pem").rename(offline / f"{role}.pem")
    assert site.start().code == "approval-missing"
    approval = tmp_path / "approval.json"
    made = site.fleet("keys", "approve", site.model, "--name", "m", "--keys", offline, "--out", approval)

    assert made.json["signatures"] == 1
    assert site.start("--approval", approval).status == 0
    approval.write_text("{}")
    assert site.start("--approval", approval).code == "approval-unreadable"


def test_keys_are_rotated_renewed_and_releases_withdrawn(site):
    assert site.fleet("keys", "rotate", "desired").json == {"role": "desired", "rotated": True}
    assert site.fleet("keys", "renew").json == {"renewed": True}
    assert site.fleet("keys", "withdraw", "m", "4000000000").json == {"floors": {"m": 4_000_000_000}}
    assert site.start().code == "approval-withdrawn"
    assert site.fleet("keys", "approvals", "off").json == {"approvals": False}
    assert site.start().status == 0


def test_a_rollout_offers_deltas_from_what_its_devices_have(edgewright, tmp_path, tiny_classifier):
    site = Site(edgewright, tmp_path, tiny_classifier)
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((600, 600)).astype(np.float32)
    digests = []
    for number in range(2):
        weights[0, 0] = number
        site.model = tmp_path / f"{number}" / "model.onnx"
        site.model.parent.mkdir()
        save_matrix(site.model, weights)
        assert site.start("--label", "site=a").status == 0
        site.conduct()
        with closing(Database(FleetPaths(site.state).database)) as database:
            (order, *_) = Orders(database, "fleet").goals("m", ["board-0"])
        digests.append(order.model.files["model.onnx"].digest)

    (shortcut,) = order.shortcuts.values()
    assert [delta.base for delta in shortcut.deltas] == digests[:1]
    assert shortcut.deltas[0].blob.size_bytes < 10_000


def save_matrix(path, weights):
    size = len(weights)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["input", "w"], ["output"])],
        "matrix",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, size])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, size])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
