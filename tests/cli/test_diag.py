"""``edgewright agent diag`` on devices as they are enrolled, with an agent's state beside: every secret of them is searched for in what comes out."""

from __future__ import annotations

import base64
import json
import stat
import tarfile

import pytest

pytest.importorskip("sqlalchemy", reason="the controller needs SQLAlchemy: pip install 'edgewright[controller]'")

from edgewright.agent.bundle import MAX_BUNDLE_BYTES
from edgewright.controller.enrollment import Address, write_address
from edgewright.controller.paths import FleetPaths
from edgewright.engines.provenance import KEY_NAME, device_signer

CLOSED_AND_NO_SECRETS = {"journal.json", "lock"}
ARGUMENT = "argument-of-the-owner"


@pytest.fixture(params=[True, False], ids=["certificate", "password"])
def board(request, edgewright, tmp_path, load_fake, monkeypatch):
    """The folder of an enrolled device: its configuration, its trust, a state that had two deployments, and a journal that quotes every secret."""
    fleet, folder = FleetPaths(tmp_path / "fleet"), tmp_path / "board"
    edgewright("fleet", "keys", "init", "--state", fleet.root)
    write_address(fleet, Address("broker.example", 8883, str(fleet.trust / "fleet-ca.pem"), has_certificates=request.param))
    assert edgewright("fleet", "enroll", "board-1", "--out", folder, "--state", fleet.root).status == 0
    text = (folder / "agent.toml").read_text().replace("[paths]\n", '[paths]\nstate = "state"\nsocket = "agent.sock"\n')
    (folder / "agent.toml").write_text(f'{text}\n[models.surface]\nactivate = ["/usr/bin/notify", "{ARGUMENT}"]\n')
    device = load_fake("device").Device(folder / "state")
    for number in (1, 2):
        device.want(device.order(f"d{number}", seed=number))
        device.settle()
    device_signer(folder / "state")
    quoting_journal(tmp_path / "bin", folder)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return folder


def quoting_journal(programs, folder):
    """A program ``journalctl`` that prints every secret file of `folder`, as a careless program might have logged it."""
    programs.mkdir()
    program = programs / "journalctl"
    program.write_text("#!/bin/sh\n" + "".join(f"/bin/cat '{path}'; /usr/bin/base64 -w 0 '{path}'; echo\n" for path in secret_files(folder)))
    program.chmod(0o755)


def secret_files(folder):
    """Whatever is closed to others, but for what is known to be no secret."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [
        path
        for path in files
        if not stat.S_IMODE(path.stat().st_mode) & 0o044 and path.parent.name != "blobs" and path.name not in CLOSED_AND_NO_SECRETS
    ]


def unpacked(path):
    with tarfile.open(path) as tar:
        return {member.name.partition("/")[2]: tar.extractfile(member).read() for member in tar}


def pieces_of(secret):
    """The secret as it is, its lines, and each in the ways that texts carry bytes."""
    lines = [line for line in secret.split(b"\n") if len(line) >= 8 and not line.startswith(b"-----")]
    for piece in {secret, secret.strip(), *lines}:
        yield from (piece, base64.b64encode(piece), piece.hex().encode())


def test_a_bundle_has_what_a_report_needs_and_none_of_the_device_s_secrets(edgewright, board, tmp_path):
    ran = edgewright("agent", "diag", "--config", board / "agent.toml", "--out", tmp_path / "bundle.tar.gz", "--json")
    found = unpacked(tmp_path / "bundle.tar.gz")
    secrets = [path.read_bytes() for path in secret_files(board)]

    assert {path.name for path in secret_files(board)} in ({KEY_NAME, "password"}, {KEY_NAME, "device.key"})
    for secret in secrets:
        for piece in pieces_of(secret):
            assert [name for name, data in found.items() if piece in data] == []
    assert ARGUMENT.encode() not in b"".join(found.values())
    assert b"[left out]" in found["log.txt"], "the journal quoted them"
    assert {"config.json", "versions.json", "machine.txt", "doctor.json", "disk.json", "journal.json", "files.txt", "log.txt"} <= set(found)
    assert json.loads(found["journal.json"])["models"]["surface"]["deployment"]["state"] == "SUCCEEDED"
    assert json.loads(found["models/surface/slots.json"])["active"]["deployment"] == "d2"
    assert json.loads(found["config.json"])["models"]["surface"]["activate"] == ["/usr/bin/notify", "[left out]"]
    assert {entry["name"] for entry in ran.json["missing"]} == {"daemon.json", "units.txt"}
    assert sum(map(len, found.values())) < MAX_BUNDLE_BYTES


def test_a_configuration_that_cannot_be_read_is_said_and_the_rest_is_there(edgewright, tmp_path):
    (tmp_path / "agent.toml").write_text('fleet = "f"\nsurprise = "hunter22"\n')
    ran = edgewright("agent", "diag", "--config", tmp_path / "agent.toml", "--out", tmp_path / "bundle.tar.gz")

    assert ran.status == 0
    assert "unknown key 'surprise'" in ran.out
    assert "versions.json" in ran.out
    assert all(b"hunter22" not in data for data in unpacked(tmp_path / "bundle.tar.gz").values())
