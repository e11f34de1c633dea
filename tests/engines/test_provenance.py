"""Whose engines are loaded: the device's own, and signed ones only where that is allowed and for exactly the wanted fingerprint."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys

import pytest
from edgewright.controller.ceremony import news, rotate
from edgewright.controller.keys import copy_anchor, init_keys, load_signer
from edgewright.controller.paths import FleetPaths
from edgewright.core.anchor import follow, keep, open_anchor
from edgewright.core.errors import Unfit
from edgewright.core.wire.messages import Signature
from edgewright.engines.manifest import manifest_bytes, read_manifest
from edgewright.engines.opening import check_folder
from edgewright.engines.provenance import (
    DOMAIN,
    KEY_NAME,
    PUBLIC_NAME,
    SEAL_NAME,
    device_signer,
    identity_folder,
    is_sealed_here,
    read_seals,
    trusted_keys,
    write_seal,
)


@pytest.fixture
def engine(tmp_path, models, seal_folder):
    """An engine folder of the device whose key is in ``tmp_path / "device"``."""
    folder = tmp_path / "engine"
    models.save(models.classifier(), folder / "model.onnx")
    seal_folder(folder, tmp_path / "device")
    return folder


@pytest.fixture
def fleet(tmp_path):
    paths = FleetPaths(tmp_path / "fleet")
    init_keys(paths, "yard", dt.datetime.now(dt.timezone.utc))
    return paths


def sign_as(paths, role, folder):
    """Replace the seals of `folder` by one of the role's."""
    (folder / SEAL_NAME).unlink()
    sign = load_signer(paths, role)

    def seal(data):
        keyid, signature = sign(DOMAIN + data)
        return Signature(keyid, signature)

    write_seal(folder, manifest_bytes(folder), seal)


def refused(folder, trusted, **arguments):
    with pytest.raises(Unfit) as caught:
        check_folder(folder, trusted, **arguments)
    return caught.value.code


def test_an_engine_of_this_device_is_accepted(engine, tmp_path):
    assert check_folder(engine, trusted_keys(tmp_path / "device")).manifest.model == "m"


def test_the_private_key_is_the_owners_alone_and_the_public_one_everyones(tmp_path):
    os.umask(os.umask(0))
    device_signer(tmp_path)

    assert (tmp_path / KEY_NAME).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / PUBLIC_NAME).stat().st_mode & 0o777 == 0o644


def test_a_key_is_made_once(tmp_path):
    first, second = (device_signer(tmp_path)(b"data") for _ in range(2))

    assert first == second


def test_two_processes_that_start_at_once_get_one_key(tmp_path):
    program = (
        "import sys; from pathlib import Path; from edgewright.engines.provenance import device_signer; "
        "print(device_signer(Path(sys.argv[1]))(b'data').keyid)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-I", "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    answers = [process.communicate(timeout=60) for process in processes]

    assert [process.returncode for process in processes] == [0, 0, 0], answers
    assert len({out for out, _ in answers}) == 1


@pytest.mark.parametrize("content", [b"", b"zz", b"00" * 31])
def test_a_damaged_key_is_an_error_and_not_replaced(tmp_path, content):
    (tmp_path / KEY_NAME).write_bytes(content)

    with pytest.raises(Unfit) as caught:
        device_signer(tmp_path)

    assert caught.value.code == "identity-unusable"
    assert (tmp_path / KEY_NAME).read_bytes() == content


def test_an_engine_of_another_device_is_refused(engine, tmp_path):
    device_signer(tmp_path / "other")

    assert refused(engine, trusted_keys(tmp_path / "other")) == "engine-untrusted"


def test_an_engine_without_a_seal_is_refused(engine, tmp_path):
    (engine / SEAL_NAME).unlink()

    assert refused(engine, trusted_keys(tmp_path / "device")) == "engine-untrusted"


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"seals": [{"keyid": "x", "sig": "zz"}]}', b"\xff"])
def test_a_damaged_seal_is_no_seal(engine, tmp_path, content):
    (engine / SEAL_NAME).write_bytes(content)

    assert refused(engine, trusted_keys(tmp_path / "device")) == "engine-untrusted"


@pytest.mark.parametrize("field", ["model", "backend", "provider", "fingerprint", "engine"])
def test_a_seal_covers_every_byte_of_the_manifest(engine, tmp_path, field):
    path = engine / "manifest.json"
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**content, field: "changed"}), "utf-8")

    assert refused(engine, trusted_keys(tmp_path / "device")) == "engine-untrusted"


def test_a_changed_engine_is_refused_before_a_runtime_sees_it(engine, tmp_path):
    with (engine / "model.onnx").open("ab") as file:
        file.write(b"x")

    assert refused(engine, trusted_keys(tmp_path / "device")) == "engine-unusable"


def test_a_seal_says_nothing_about_other_bytes(tmp_path):
    seal = device_signer(tmp_path)(b"these bytes")

    assert is_sealed_here(b"these bytes", [seal], trusted_keys(tmp_path))
    assert not is_sealed_here(b"those bytes", [seal], trusted_keys(tmp_path))


def test_several_keys_may_seal_one_engine(engine, tmp_path):
    write_seal(engine, manifest_bytes(engine), device_signer(tmp_path / "second"))

    assert len(read_seals(engine)) == 2
    for name in ("device", "second"):
        check_folder(engine, trusted_keys(tmp_path / name))


def test_signed_engines_are_refused_by_default(engine, fleet, tmp_path):
    sign_as(fleet, "engines", engine)

    assert refused(engine, trusted_keys(tmp_path / "device")) == "engine-untrusted"


def test_an_allowed_signed_engine_of_the_wanted_fingerprint_is_accepted(engine, fleet, tmp_path):
    sign_as(fleet, "engines", engine)
    wanted = read_manifest(engine).fingerprint

    checked = check_folder(engine, trusted_keys(tmp_path / "nobody", anchor=fleet.trust), wanted=wanted)

    assert checked.manifest.fingerprint == wanted


def test_a_rotated_role_is_followed_and_its_old_key_signs_nothing_any_more(engine, fleet, tmp_path):
    pinned, followed = tmp_path / "pinned", tmp_path / "anchor.json"
    copy_anchor(fleet, pinned)
    old_signer = load_signer(fleet, "engines")
    rotate(fleet, fleet.keys, "engines", dt.datetime.now(dt.timezone.utc))
    keep(follow(open_anchor(pinned), news(fleet)), followed)
    trusted = trusted_keys(tmp_path / "nobody", anchor=pinned, followed=followed)
    wanted = read_manifest(engine).fingerprint

    sign_as(fleet, "engines", engine)
    assert check_folder(engine, trusted, wanted=wanted).manifest.fingerprint == wanted
    assert refused(engine, trusted_keys(tmp_path / "nobody", anchor=pinned), wanted=wanted) == "engine-untrusted"

    (engine / SEAL_NAME).unlink()
    write_seal(engine, manifest_bytes(engine), lambda data: Signature(*old_signer(DOMAIN + data)))
    assert refused(engine, trusted, wanted=wanted) == "engine-untrusted"


@pytest.mark.parametrize("wanted", [None, "0" * 64])
def test_a_signed_engine_of_another_fingerprint_is_refused(engine, fleet, tmp_path, wanted):
    sign_as(fleet, "engines", engine)

    assert refused(engine, trusted_keys(tmp_path / "nobody", anchor=fleet.trust), wanted=wanted) == "engine-untrusted"


@pytest.mark.parametrize("role", ["desired", "targets", "root"])
def test_no_other_role_signs_engines(engine, fleet, tmp_path, role):
    sign_as(fleet, role, engine)
    wanted = read_manifest(engine).fingerprint

    assert refused(engine, trusted_keys(tmp_path / "nobody", anchor=fleet.trust), wanted=wanted) == "engine-untrusted"


def test_another_fleets_engines_are_refused(engine, fleet, tmp_path):
    other = FleetPaths(tmp_path / "other fleet")
    init_keys(other, "yard", dt.datetime.now(dt.timezone.utc))
    sign_as(other, "engines", engine)
    wanted = read_manifest(engine).fingerprint

    assert refused(engine, trusted_keys(tmp_path / "nobody", anchor=fleet.trust), wanted=wanted) == "engine-untrusted"


def test_a_manifest_that_contradicts_its_fingerprint_is_refused(tmp_path, models, seal_folder):
    from edgewright.engines.manifest import list_files, write_manifest
    from msgspec.structs import replace

    folder = tmp_path / "engine"
    models.save(models.classifier(), folder / "model.onnx")
    manifest = seal_folder(folder, tmp_path / "device")
    write_manifest(folder, replace(manifest, fingerprint="0" * 64, files=list_files(folder)), device_signer(tmp_path / "device"))

    assert refused(folder, trusted_keys(tmp_path / "device")) == "engine-unusable"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"EDGEWRIGHT_STATE": "/srv/edge"}, "/srv/edge"),
        ({"XDG_STATE_HOME": "/home/a/state"}, "/home/a/state/edgewright"),
        ({"HOME": "/home/a"}, "/home/a/.local/state/edgewright"),
    ],
)
def test_the_users_identity_is_where_the_environment_says(monkeypatch, variables, expected):
    for name in ("EDGEWRIGHT_STATE", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert str(identity_folder()) == expected
