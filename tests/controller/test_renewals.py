"""Certificates are renewed before they expire, for the key that the device has, and for nobody who lost his access."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from edgewright.agent.config import config_from_toml
from edgewright.agent.identity import certificate_of, keep_certificate
from edgewright.controller import authority
from edgewright.controller.authority import DEVICE_DAYS, RENEW_DAYS, make_authority
from edgewright.controller.enrollment import Address, enroll, take_access
from edgewright.controller.keys import init_keys
from edgewright.controller.renewals import LOOK_S, Renewals
from edgewright.core.wire.messages import Desired, Envelope, decode

NOW = dt.datetime.now(dt.timezone.utc).replace(microsecond=0)
DAY_S = 86400.0
DUE_S = NOW.timestamp() + (DEVICE_DAYS - RENEW_DAYS + 1) * DAY_S


class Clock:
    now_s = 0.0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def fleet(paths, orders, tmp_path, clock):
    """With ``board-1`` and ``board-2``, which log in by certificates."""
    init_keys(paths, "fleet", NOW)
    make_authority(paths, "fleet", NOW)
    for name in ("board-1", "board-2"):
        address = Address("broker.example", 8883, str(paths.trust / authority.CA_NAME), has_certificates=True)
        enroll(paths, orders, "fleet", name, tmp_path / name, address, tmp_path / name / "state")
        (tmp_path / name / "state").mkdir()
    return Renewals(paths, "fleet", orders, lambda: clock.now_s)


def sent(orders):
    """The certificates in the goals that are signed now."""
    signed = orders.sign_changed_goals(lambda _data: ("0" * 64, "0" * 128), DUE_S)
    return {name: decode(decode(payload, Envelope).signed, Desired).certificate for name, payload in signed}


def test_a_certificate_is_renewed_once_for_the_same_key_and_sent(fleet, orders, clock, tmp_path):
    assert sent(orders) == {"board-1": None, "board-2": None}
    assert fleet.look(DUE_S - 2 * DAY_S) == []
    clock.now_s += LOOK_S
    assert sorted(fleet.look(DUE_S)) == ["board-1", "board-2"]
    clock.now_s += LOOK_S
    assert fleet.look(DUE_S) == []
    pem = sent(orders)["board-1"]
    old, new = (x509.load_pem_x509_certificate(data) for data in ((tmp_path / "board-1" / "device.pem").read_bytes(), pem.encode()))

    assert new.public_key() == old.public_key()
    assert (new.subject, new.issuer) == (old.subject, old.issuer)
    assert new.not_valid_after_utc.timestamp() == int(DUE_S) + DEVICE_DAYS * DAY_S
    assert orders.certificates("board-1") == (f"{old.serial_number:x}", f"{new.serial_number:x}")


def test_who_lost_his_access_gets_no_other_certificate(fleet, orders, paths):
    take_access(paths, "board-1", orders.certificates("board-1"))

    assert fleet.look(DUE_S) == ["board-2"]


def test_a_retired_device_gets_none(fleet, orders):
    orders.retire("board-1", NOW.timestamp())

    assert fleet.look(DUE_S) == ["board-2"]


def test_the_device_keeps_the_later_certificate_while_it_is_for_its_key(fleet, orders, tmp_path):
    sent(orders)
    fleet.look(DUE_S)
    pems = sent(orders)
    config = config_from_toml(tmp_path / "board-1" / "agent.toml")
    assert certificate_of(config) == tmp_path / "board-1" / "device.pem"
    assert keep_certificate(config, pems["board-2"]) is None, "it is another device's"
    assert keep_certificate(config, "no certificate") is None
    kept = keep_certificate(config, pems["board-1"])

    assert kept is not None
    assert (certificate_of(config), kept.read_text("ascii")) == (kept, pems["board-1"])
    assert keep_certificate(config, pems["board-1"]) is None, "it is known"
    other = config_from_toml(tmp_path / "board-2" / "agent.toml")
    (tmp_path / "board-1" / "device.key").write_bytes((tmp_path / "board-2" / "device.key").read_bytes())
    assert certificate_of(config) == tmp_path / "board-1" / "device.pem", "a new enrolment brought another key"
    assert certificate_of(other) == tmp_path / "board-2" / "device.pem"
