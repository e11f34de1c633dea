"""``edgewright fleet keys | enroll | devices``; the other commands have files of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("sqlalchemy", reason="the controller needs SQLAlchemy: pip install 'edgewright[controller]'")

from edgewright.controller.database import Database
from edgewright.controller.enrollment import Address, write_address
from edgewright.controller.paths import FleetPaths
from edgewright.controller.recorder import Recorder
from edgewright.core.wire.messages import Capabilities, ModelReport, Reported, SlotReport, Status

Run = Callable[..., Any]

NOW_S = 1_800_000_000.0
WHO = {"fleet": "plant", "device": "board-1"}


@pytest.fixture
def state(edgewright: Run, tmp_path: Path) -> Path:
    """The state folder of the fleet ``plant``."""
    folder = tmp_path / "state"
    assert edgewright("fleet", "keys", "init", "--state", folder, "--fleet", "plant").status == 0
    return folder


@pytest.fixture
def enrolled(edgewright: Run, state: Path, tmp_path: Path) -> Path:
    assert edgewright("fleet", "enroll", "board-1", "--state", state, "--out", tmp_path / "board-1").status == 0
    return state


def test_the_group_lists_its_commands(edgewright: Run) -> None:
    help_text = edgewright("fleet", "--help").out
    commands = [
        line.split()[0] for line in help_text.partition("Commands:")[2].splitlines() if line.strip() and line.startswith("  ") and line[2] != " "
    ]

    assert commands == sorted(commands)
    assert commands == [
        "approve",
        "audit",
        "cancel",
        "compare",
        "dashboard",
        "deploy",
        "deployments",
        "devices",
        "enroll",
        "export",
        "keys",
        "label",
        "overview",
        "pause",
        "profile",
        "release",
        "remove",
        "renew",
        "report",
        "resume",
        "retire",
        "retry",
        "revoke",
        "rollback",
        "rollout",
        "rollout-again",
        "rollouts",
        "serve",
        "show",
        "tokens",
        "update-agent",
        "watch",
        "wipe",
    ]


def test_keys_are_made_and_the_offline_ones_named(edgewright: Run, tmp_path: Path) -> None:
    ran = edgewright("fleet", "keys", "init", "--state", tmp_path / "state", "--fleet", "plant")

    assert ran.status == 0
    assert "plant" in ran.out
    assert "approve by themselves" in ran.out
    assert "root.pem, targets.pem, engines.pem" in ran.out
    assert "away from the network" in ran.out
    assert (tmp_path / "state" / "keys" / "root.pem").is_file()


def test_keys_are_told_as_json(edgewright: Run, tmp_path: Path) -> None:
    folder = tmp_path / "state"

    assert edgewright("fleet", "keys", "init", "--state", folder, "--json").json == {
        "fleet": "fleet",
        "keys": str(folder / "keys"),
        "trust": str(folder / "trust"),
    }


def test_keys_are_not_made_twice(edgewright: Run, state: Path) -> None:
    ran = edgewright("fleet", "keys", "init", "--state", state, "--json")

    assert (ran.status, ran.code) == (1, "keys-exist")


@pytest.mark.parametrize(
    "command",
    [
        ("devices",),
        ("serve",),
        ("enroll", "board-1", "--out", "out"),
        ("deploy", "model.onnx"),
        ("remove", "m"),
        ("watch",),
        ("report",),
        ("cancel",),
        ("rollback", "m", "--device", "board-1"),
        ("release", "m", "--device", "board-1"),
    ],
    ids=lambda command: command[0],
)
def test_without_a_fleet_every_command_says_how_to_make_one(edgewright: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    ran = edgewright("fleet", *command, "--state", tmp_path / "nothing", "--json")

    assert (ran.status, ran.code) == (1, "fleet-absent")
    assert "keys init" in ran.json["error"]["next"]
    assert not (tmp_path / "nothing").exists()


def test_the_state_folder_may_come_from_the_environment(edgewright: Run, enrolled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_FLEET", str(enrolled))

    assert [device["name"] for device in edgewright("fleet", "devices", "--json").json["devices"]] == ["board-1"]


def test_a_state_folder_that_is_a_file_is_told(edgewright: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    ran = edgewright("fleet", "keys", "init", "--state", tmp_path / "file", "--json")

    assert (ran.status, ran.code) == (1, "state-unusable")


def test_a_database_that_is_none_is_told(edgewright: Run, state: Path) -> None:
    FleetPaths(state).database.write_bytes(b"no database" * 1000)
    ran = edgewright("fleet", "devices", "--state", state, "--json")

    assert (ran.status, ran.code) == (1, "database-failed")


def test_a_device_is_enrolled_with_the_address_that_was_served_last(edgewright: Run, state: Path, tmp_path: Path) -> None:
    write_address(FleetPaths(state), Address("broker.example", 2883))
    out = tmp_path / "board-1"
    ran = edgewright("fleet", "enroll", "board-1", "--state", state, "--out", out, "--json")

    assert ran.json == {"device": "board-1", "config": str(out / "agent.toml"), "host": "broker.example", "port": 2883}
    assert 'host = "broker.example"' in (out / "agent.toml").read_text(encoding="utf-8")


def test_the_address_may_be_given(edgewright: Run, state: Path, tmp_path: Path) -> None:
    ran = edgewright(
        "fleet",
        "enroll",
        "board-1",
        "--state",
        state,
        "--out",
        tmp_path / "out",
        "--host",
        "10.0.0.5",
        "--port",
        1884,
        "--device-state",
        tmp_path / "s",
    )
    text = (tmp_path / "out" / "agent.toml").read_text(encoding="utf-8")

    assert ran.status == 0
    assert "edgewright agent run --config" in ran.out
    assert ('host = "10.0.0.5"' in text, "port = 1884" in text, f'state = "{tmp_path / "s"}"' in text) == (True, True, True)


@pytest.mark.parametrize(("device", "code"), [("Board", "bad-name"), ("controller", "bad-name"), ("board-1", "out-not-empty")])
def test_an_enrollment_that_cannot_be_is_one_line(edgewright: Run, enrolled: Path, tmp_path: Path, device: str, code: str) -> None:
    ran = edgewright("fleet", "enroll", device, "--state", enrolled, "--out", tmp_path / "board-1", "--json")

    assert (ran.status, ran.code) == (1, code)


def test_a_device_that_has_said_nothing_is_listed(edgewright: Run, enrolled: Path) -> None:
    line = edgewright("fleet", "devices", "--state", enrolled).out.splitlines()[-2].split()

    assert line == ["board-1", "offline", "never", "–", "–", "–"]


def test_what_a_device_said_is_listed_without_what_would_steer_the_terminal(edgewright: Run, enrolled: Path) -> None:
    database = Database(FleetPaths(enrolled).database)
    recorder = Recorder(database)
    slot = SlotReport(deployment="d-1", version="7 [red]", backend="onnxruntime", engine_digest="", since_s=1.0)
    models = {"surface": ModelReport(active=slot, previous=None, trial=None)}
    recorder.record(Status(**WHO, online=True, boot_id="b", session=1, agent_version="1"), NOW_S)
    recorder.record(Capabilities(**WHO, board="Orin\x1b[2J[/]", machine="aarch64", agent_version="1", memory_mb=1, cores=1), NOW_S)
    recorder.record(Reported(**WHO, session=1, desired_sequence=0, time_s=1.0, models=models), NOW_S)
    database.close()
    ran = edgewright("fleet", "devices", "--state", enrolled)
    view = edgewright("fleet", "devices", "--state", enrolled, "--json").json["devices"][0]

    assert "surface 7 [red]" in ran.out
    assert "Orin�[2J[/]" in ran.out
    assert "\x1b" not in ran.out
    assert (view["online"], view["reported"]["models"]["surface"]["active"]["version"]) == (True, "7 [red]")


def test_json_of_a_fleet_is_one_object(edgewright: Run, enrolled: Path) -> None:
    ran = edgewright("fleet", "devices", "--state", enrolled, "--json")

    assert msgspec.json.decode(ran.out) == json.loads(ran.out)
    assert ran.err == ""
