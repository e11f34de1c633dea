"""``fleet update-agent``: wheels become a rollout that devices take only with the approval of the offline keys."""

from __future__ import annotations

import zipfile
from contextlib import closing

import pytest

pytest.importorskip("sqlalchemy", reason="the controller needs SQLAlchemy: pip install 'edgewright[controller]'")

from edgewright.controller.database import Database
from edgewright.controller.orders import Orders
from edgewright.controller.paths import FleetPaths
from edgewright.controller.rollouts import Rollouts
from edgewright.core.approval import digest_of_model
from edgewright.core.wire.messages import AGENT_MODEL

OWN = "edgewright-9.1.0-py3-none-any.whl"


@pytest.fixture
def fleet(edgewright, tmp_path):
    state = tmp_path / "state"
    edgewright("fleet", "keys", "init", "--state", state)
    for name in ("board-1", "board-2"):
        edgewright("fleet", "enroll", name, "--state", state, "--out", tmp_path / name, "--label", f"site={name[-1]}")

    def run(*words):
        return edgewright("fleet", *words, "--state", state, "--json")

    run.state = state
    return run


@pytest.fixture
def wheels(tmp_path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in (OWN, "msgspec-9.0-py3-none-any.whl"):
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("x", name)
    return folder


def order_of(fleet):
    with closing(Database(FleetPaths(fleet.state).database)) as database:
        orders = Orders(database, "fleet")
        view = Rollouts(database, orders).view("latest", 1.0)
        with database.reading() as session:
            import msgspec
            from edgewright.controller.tables import Deployment
            from edgewright.core.wire.messages import Order

            return view, msgspec.json.decode(session.get_one(Deployment, view.deployment).body, type=Order)


def test_a_package_is_rolled_out_with_an_approval_of_exactly_its_wheels(fleet, wheels):
    ran = fleet("update-agent", wheels, "--label", "site=1", "--probation", "30")
    view, order = order_of(fleet)

    assert (ran.status, ran.json["version"], view.model, view.selector.labels) == (0, "9.1.0", AGENT_MODEL, {"site": "1"})
    assert (order.kind, order.model_file, order.version, order.probation_s) == ("agent", OWN, "9.1.0", 30.0)
    assert sorted(order.model.files) == [OWN, "msgspec-9.0-py3-none-any.whl"]
    assert order.approval is not None
    assert digest_of_model(order.model, OWN) in order.approval.signed
    assert view.plan.on_unproven == "promote", "there is nothing to measure"


def test_without_the_offline_keys_it_needs_a_file_whatever_the_policy_says(fleet, wheels, tmp_path):
    fleet("keys", "approvals", "off")
    offline = tmp_path / "offline"
    offline.mkdir()
    (fleet.state / "keys" / "targets.pem").rename(offline / "targets.pem")
    assert fleet("update-agent", wheels).code == "approval-missing"
    approval = tmp_path / "approval.json"
    assert fleet("keys", "approve", wheels, "--keys", offline, "--out", approval).json["model"] == AGENT_MODEL

    assert fleet("update-agent", wheels, "--approval", approval).status == 0


@pytest.mark.parametrize("name", ["msgspec-9.0-py3-none-any.whl", "edgewright-9.1.0.whl"])
def test_what_holds_no_wheel_of_edgewright_is_refused(fleet, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"wheel")

    assert fleet("update-agent", path).code == "package-malformed"


def test_a_model_cannot_have_the_agents_name(fleet, tiny_classifier):
    assert fleet("deploy", tiny_classifier, "--name", AGENT_MODEL).code == "message-malformed"


def test_a_model_is_removed_where_a_label_says(fleet, tiny_classifier):
    fleet("deploy", tiny_classifier, "--name", "m")

    assert fleet("remove", "m", "--label", "site=2").json == {"model": "m", "devices": 1}
    assert fleet("remove", "m", "--label", "site=9").code == "no-device-selected"
    assert fleet("remove", "m").json == {"model": "m", "devices": 1}
