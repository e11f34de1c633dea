from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from edgewright.agent.config import config_from_toml
from edgewright.controller.access import CONTROLLER_USER
from edgewright.controller.enrollment import Address, controller_password, enroll, read_address, write_address
from edgewright.controller.keys import init_keys
from edgewright.controller.orders import Orders
from edgewright.controller.passwords import is_password, read_passwords
from edgewright.controller.paths import FleetPaths
from edgewright.controller.reports import Reports
from edgewright.core.errors import Rejected

ADDRESS = Address("broker.example", 8883)


@pytest.fixture
def fleet(paths: FleetPaths) -> FleetPaths:
    init_keys(paths, "fleet", dt.datetime(2027, 1, 1, tzinfo=dt.timezone.utc))
    return paths


def code_of(fleet: FleetPaths, orders: Orders, device: str, out: Path, address: Address = ADDRESS) -> str:
    with pytest.raises(Rejected) as refused:
        enroll(fleet, orders, "fleet", device, out, address)
    return refused.value.code


def test_the_agent_understands_the_folder_that_is_made_for_it(fleet: FleetPaths, orders: Orders, tmp_path: Path) -> None:
    out = tmp_path / "out"
    enroll(fleet, orders, "fleet", "board-7", out, ADDRESS)
    config = config_from_toml(out / "agent.toml")
    password = (out / "password").read_text().strip()

    assert (config.fleet, config.device, config.broker.host, config.broker.port) == ("fleet", "board-7", "broker.example", 8883)
    assert (config.broker.username, config.broker.tls_ca, config.trust) == ("board-7", None, out / "trust")
    assert is_password(password, read_passwords(fleet.passwords)["board-7"])
    assert (out / "password").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in (out / "trust").iterdir()) == ["root.json", "targets.json"]


def test_an_enrolled_device_is_one_of_the_fleet(fleet: FleetPaths, orders: Orders, reports: Reports, tmp_path: Path) -> None:
    enroll(fleet, orders, "fleet", "board-7", tmp_path / "out", ADDRESS)

    assert [view.name for view in reports.devices()] == ["board-1", "board-2", "board-7"]


def test_a_broker_with_a_certificate_is_known_by_it_on_the_device(fleet: FleetPaths, orders: Orders, tmp_path: Path) -> None:
    ca, out = tmp_path / "ca.pem", tmp_path / "out"
    ca.write_bytes(b"certificate")
    enroll(fleet, orders, "fleet", "board-7", out, Address("broker.example", 8883, str(ca)))
    name = config_from_toml(out / "agent.toml").broker.tls_ca

    assert name is not None
    assert (out / name).read_bytes() == b"certificate"


@pytest.mark.parametrize("name", ["plain", "with space", 'with "quotes"', "back\\slash", "täb\tdel\x7f"])
def test_the_agents_folders_may_have_any_name(fleet: FleetPaths, orders: Orders, tmp_path: Path, name: str) -> None:
    state = tmp_path / name
    enroll(fleet, orders, "fleet", "board-7", tmp_path / "out", ADDRESS, state)
    config = config_from_toml(tmp_path / "out" / "agent.toml")

    assert (config.state, config.socket) == (state, state / "agent.sock")


def test_enrolling_again_gives_a_new_password(fleet: FleetPaths, orders: Orders, tmp_path: Path) -> None:
    passwords = []
    for name in ("one", "two"):
        enroll(fleet, orders, "fleet", "board-7", tmp_path / name, ADDRESS)
        passwords.append((tmp_path / name / "password").read_text().strip())
    hashed = read_passwords(fleet.passwords)["board-7"]

    assert [is_password(password, hashed) for password in passwords] == [False, True]


@pytest.mark.parametrize("device", ["Board", "_all", "a/b", "", CONTROLLER_USER])
def test_a_name_that_devices_may_not_have_is_refused(fleet: FleetPaths, orders: Orders, tmp_path: Path, device: str) -> None:
    assert code_of(fleet, orders, device, tmp_path / "out") == "bad-name"
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone_and_so_is_the_device(fleet: FleetPaths, orders: Orders, tmp_path: Path) -> None:
    enroll(fleet, orders, "fleet", "board-7", tmp_path / "out", ADDRESS)
    before = read_passwords(fleet.passwords)

    assert code_of(fleet, orders, "board-7", tmp_path / "out") == "out-not-empty"
    assert read_passwords(fleet.passwords) == before


def test_a_folder_that_cannot_be_written_leaves_no_half_enrolled_device(fleet: FleetPaths, orders: Orders, reports: Reports, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    assert code_of(fleet, orders, "board-7", tmp_path / "file" / "out") == "out-unusable"
    assert "board-7" not in read_passwords(fleet.passwords)
    assert [view.name for view in reports.devices()] == ["board-1", "board-2"]


def test_a_certificate_that_is_gone_is_told(fleet: FleetPaths, orders: Orders, tmp_path: Path) -> None:
    address = Address("broker.example", 8883, str(tmp_path / "gone.pem"))

    assert code_of(fleet, orders, "board-7", tmp_path / "out", address) == "tls-files-unusable"


def test_the_address_that_was_served_last_is_remembered(paths: FleetPaths) -> None:
    assert read_address(paths) is None
    for address in (ADDRESS, Address("other", 1, "/ca.pem")):
        write_address(paths, address)
        assert read_address(paths) == address
    paths.address.write_bytes(b"broken")

    assert read_address(paths) is None


def test_the_controllers_password_stays_the_same_and_is_always_known_to_the_broker(paths: FleetPaths) -> None:
    first = controller_password(paths)
    paths.passwords.unlink()
    second: Any = controller_password(paths)

    assert first == second
    assert is_password(first, read_passwords(paths.passwords)[CONTROLLER_USER])
