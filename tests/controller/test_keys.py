from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from edgewright.controller.keys import copy_anchor, fleet_name, init_keys, load_signer
from edgewright.controller.paths import FleetPaths
from edgewright.core.errors import Rejected, Unfit
from edgewright.core.trust import VerifyRequest, load_anchor, seal, verify_envelope
from edgewright.core.wire.messages import Desired, encode

NOW = dt.datetime(2027, 1, 15, tzinfo=dt.timezone.utc)
NOW_S = NOW.timestamp()
YEAR_S = 365 * 86400.0


@pytest.fixture
def fleet(paths: FleetPaths) -> FleetPaths:
    init_keys(paths, "plant", NOW)
    return paths


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_fleet_has_four_private_keys_that_only_its_owner_may_read(fleet: FleetPaths) -> None:
    assert sorted(path.name for path in fleet.keys.iterdir()) == ["desired.pem", "engines.pem", "root.pem", "targets.pem"]
    assert {mode(path) for path in fleet.keys.iterdir()} == {0o600}
    assert mode(fleet.keys) == 0o700
    assert all(path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----") for path in fleet.keys.iterdir())
    assert len({path.read_bytes() for path in fleet.keys.iterdir()}) == 4


def test_the_anchor_holds_nothing_secret_and_knows_its_fleet(fleet: FleetPaths) -> None:
    assert sorted(path.name for path in fleet.trust.iterdir()) == ["fleet", "root.json", "targets.json"]
    assert not any(b"PRIVATE" in path.read_bytes() for path in fleet.trust.iterdir())
    assert fleet_name(fleet) == "plant"


def test_a_device_with_a_copy_of_the_anchor_takes_what_the_online_key_signs(fleet: FleetPaths, tmp_path: Path) -> None:
    copy_anchor(fleet, tmp_path / "device" / "trust")
    goal = Desired(fleet="plant", device="board-1", sequence=1, issued_s=NOW_S, expires_s=NOW_S + 60, models={})
    envelope = encode(seal(goal, load_signer(fleet)))
    request = VerifyRequest(
        trust=str(tmp_path / "device" / "trust"), envelope=envelope, fleet="plant", device="board-1", last_sequence=0, now_s=NOW_S
    )

    assert verify_envelope(request).desired == goal


def test_the_anchor_lasts_five_years(fleet: FleetPaths) -> None:
    load_anchor(fleet.trust, NOW_S + 5 * YEAR_S - 1)
    with pytest.raises(Unfit) as unfit:
        load_anchor(fleet.trust, NOW_S + 5 * YEAR_S + 1)

    assert unfit.value.code == "trust-expired"


def test_the_online_key_alone_is_enough_to_sign(fleet: FleetPaths) -> None:
    for name in ("root", "targets", "engines"):
        (fleet.keys / f"{name}.pem").unlink()

    keyid, signature = load_signer(fleet)(b"data")
    assert keyid in load_anchor(fleet.trust, NOW_S).delegations.keys  # type: ignore[union-attr]
    assert len(bytes.fromhex(signature)) == 64


@pytest.mark.parametrize("left", ["all", "only the offline keys", "only the anchor"])
def test_keys_are_never_overwritten(fleet: FleetPaths, left: str) -> None:
    if left == "only the offline keys":
        (fleet.keys / "desired.pem").unlink()
    if left == "only the anchor":
        for path in fleet.keys.iterdir():
            path.unlink()
    before = {path: path.read_bytes() for folder in (fleet.keys, fleet.trust) for path in folder.iterdir()}
    with pytest.raises(Rejected) as refused:
        init_keys(fleet, "other", NOW)

    assert refused.value.code == "keys-exist"
    assert {path: path.read_bytes() for folder in (fleet.keys, fleet.trust) for path in folder.iterdir()} == before


def test_a_fleet_needs_a_plain_name(paths: FleetPaths) -> None:
    with pytest.raises(Rejected) as refused:
        init_keys(paths, "My Plant", NOW)

    assert refused.value.code == "bad-name"
    assert list(paths.keys.iterdir()) == []


def test_a_folder_without_a_fleet_says_how_to_make_one(paths: FleetPaths) -> None:
    with pytest.raises(Unfit) as unfit:
        fleet_name(paths)

    assert unfit.value.code == "fleet-absent"
    assert "keys init" in unfit.value.next_step


@pytest.mark.parametrize("content", [None, b"", b"nonsense", "elliptic"])
def test_a_signing_key_that_cannot_be_used_is_told(fleet: FleetPaths, content: bytes | str | None) -> None:
    path = fleet.keys / "desired.pem"
    path.unlink()
    if content == "elliptic":
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

        key = generate_private_key(SECP256R1())
        form = serialization.PrivateFormat.PKCS8
        path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(Unfit) as unfit:
        load_signer(fleet)

    assert unfit.value.code == "keys-unreadable"


def test_a_state_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unfit) as unfit:
        FleetPaths(tmp_path / "file" / "state").make()

    assert unfit.value.code == "state-unusable"
