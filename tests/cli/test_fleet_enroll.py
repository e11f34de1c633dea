from __future__ import annotations

from contextlib import closing

import pytest

pytest.importorskip("sqlalchemy", reason="the controller needs SQLAlchemy: pip install 'edgewright[controller]'")

from edgewright.controller.database import Database
from edgewright.controller.enrollment import Address, write_address
from edgewright.controller.passwords import read_passwords
from edgewright.controller.paths import FleetPaths
from edgewright.controller.tables import Goal


@pytest.fixture
def fleet(edgewright, tmp_path):
    state = tmp_path / "state"
    edgewright("fleet", "keys", "init", "--state", state)

    def run(*words):
        return edgewright("fleet", *words, "--state", state, "--json")

    run.state, run.folder, run.paths = state, tmp_path, FleetPaths(state)
    return run


def with_certificates(fleet) -> None:
    """As ``fleet serve --tls-port`` leaves it."""
    write_address(fleet.paths, Address("broker.example", 8883, str(fleet.paths.trust / "fleet-ca.pem"), has_certificates=True))


def test_a_device_gets_a_certificate_where_the_broker_asks_for_one(fleet):
    with_certificates(fleet)
    fleet("enroll", "board-1", "--out", fleet.folder / "board-1")
    files = {path.name for path in (fleet.folder / "board-1").iterdir()}
    config = (fleet.folder / "board-1" / "agent.toml").read_text()

    assert files == {"agent.toml", "broker-ca.pem", "device.key", "device.pem", "trust"}
    assert 'tls_key = "device.key"' in config
    assert "password" not in config


def test_the_agent_takes_the_configuration(fleet):
    from edgewright.agent.config import config_from_toml

    with_certificates(fleet)
    fleet("enroll", "board-1", "--out", fleet.folder / "board-1")
    config = config_from_toml(fleet.folder / "board-1" / "agent.toml")

    assert (config.broker.host, config.broker.port, config.broker.tls_certificate) == ("broker.example", 8883, "device.pem")


def test_a_certificate_is_renewed(fleet):
    with_certificates(fleet)
    fleet("enroll", "board-1", "--out", fleet.folder / "board-1")
    assert fleet("renew", "board-1", "--out", fleet.folder / "new").status == 0

    assert (fleet.folder / "new" / "device.pem").read_bytes() != (fleet.folder / "board-1" / "device.pem").read_bytes()
    assert fleet("renew", "board-9", "--out", fleet.folder / "other").code == "device-unknown"
    assert fleet("renew", "board-1", "--out", fleet.folder / "new").code == "out-not-empty"


def test_a_revoked_device_loses_its_password(fleet):
    fleet("enroll", "board-1", "--out", fleet.folder / "board-1")
    assert "board-1" in read_passwords(fleet.paths.passwords)
    assert fleet("revoke", "board-1").status == 0

    assert "board-1" not in read_passwords(fleet.paths.passwords)
    assert fleet("revoke", "board-9").code == "device-unknown"


def test_a_wiped_device_has_no_goal(fleet, tiny_classifier):
    fleet("enroll", "board-1", "--out", fleet.folder / "board-1")
    fleet("deploy", tiny_classifier, "--name", "m")
    fleet("deploy", tiny_classifier, "--name", "n")

    assert fleet("wipe", "board-1").json == {"device": "board-1", "models": 2, "wipe": 1}
    with closing(Database(fleet.paths.database)) as database, database.reading() as session:
        assert session.query(Goal).count() == 0


def test_a_retired_device_is_no_longer_meant_and_its_history_stays(fleet, tiny_classifier):
    for name in ("board-1", "board-2"):
        fleet("enroll", name, "--out", fleet.folder / name)
    fleet("deploy", tiny_classifier, "--name", "m")
    assert fleet("retire", "board-1").status == 0
    fleet("deploy", tiny_classifier, "--name", "n")

    assert [device["name"] for device in fleet("devices").json["devices"]] == ["board-2"]
    assert [device["name"] for device in fleet("devices", "--retired").json["devices"]] == ["board-1"]
    assert [target["device"] for target in fleet("report").json["devices"]] == ["board-2"]
    assert fleet("deploy", tiny_classifier, "--name", "m", "--device", "board-1").code == "device-unknown"


def test_a_retired_device_comes_back_when_it_is_enrolled_again(fleet):
    fleet("enroll", "board-1", "--out", fleet.folder / "board-1")
    fleet("retire", "board-1")
    fleet("enroll", "board-1", "--out", fleet.folder / "again")

    assert [device["name"] for device in fleet("devices").json["devices"]] == ["board-1"]


def test_labels_are_set_changed_and_taken_away(fleet):
    fleet("enroll", "board-1", "--out", fleet.folder / "board-1", "--label", "site=a", "--label", "line=7")
    assert fleet("label", "board-1", "site=b", "--remove", "line").json["labels"] == {"site": "b"}

    assert fleet("label", "board-1", "Site=b").code == "label-malformed"
    assert fleet("label", "board-9", "site=b").code == "device-unknown"


def test_tokens_are_made_listed_and_revoked(fleet):
    made = fleet("tokens", "create", "ci", "--role", "operator").json
    (listed,) = fleet("tokens", "list").json["tokens"]

    assert made["token"].startswith(f"ewt_{listed['token']}_")
    assert "secret" not in listed
    assert fleet("tokens", "revoke", listed["token"]).status == 0
    assert fleet("tokens", "list").json["tokens"][0]["revoked_s"] is not None
    assert fleet("tokens", "revoke", "nothing").code == "token-unknown"
