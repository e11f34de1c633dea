"""The units, read as systemd reads them: what they start exists, who they run as exists, and nothing they close is needed."""

from __future__ import annotations

import importlib
import shlex
from pathlib import Path

import pytest
from edgewright.agent import helper, launch
from edgewright.agent.config import LimitsSection, PathsSection
from edgewright.cli.main import program
from edgewright.pipeline import serve
from edgewright.pipeline.remote import WORKER_VARIABLE
from edgewright.profiling.mode_journal import DEFAULT_JOURNAL

UNITS = ("edgewright-agent.service", "edgewright-failed@.service", "edgewright-revert.service")


@pytest.fixture
def folder(project_root: Path) -> Path:
    return project_root / "systemd"


def read_unit(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Sections of (key, value) in order; keys may come again, as systemd allows."""
    sections: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            name = line.strip("[]")
            sections[name] = []
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, line
            sections[name].append((key, value))
    return sections


def service(path: Path) -> dict[str, str]:
    return dict(read_unit(path)["Service"])


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_is_short(folder: Path, unit: str) -> None:
    assert len((folder / unit).read_text(encoding="utf-8").splitlines()) <= 40


@pytest.mark.parametrize("unit", UNITS)
def test_what_a_unit_starts_takes_the_arguments_it_is_given(folder: Path, unit: str, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [value for key, value in read_unit(folder / unit)["Service"] if key.startswith("Exec")]

    for command in commands:
        program, flag, module, *arguments = shlex.split(command)
        assert (program, flag) == ("/opt/edgewright/bin/python", "-m")
        entry = importlib.import_module(module if module != "edgewright.agent" else "edgewright.agent.__main__")
        # There is no such file here: the arguments are understood, and the reason is the configuration's.
        assert entry.main(["/nowhere.toml" if word == "/etc/edgewright/agent.toml" else word for word in arguments]) == 1
        assert "config-unreadable" in capsys.readouterr().err


def test_the_start_is_counted_before_the_agent_runs(folder: Path) -> None:
    keys = [key for key, _ in read_unit(folder / "edgewright-agent.service")["Service"]]

    assert keys.index("ExecStartPre") < keys.index("ExecStart")
    assert "edgewright.agent.revert" in service(folder / "edgewright-agent.service")["ExecStartPre"]


def test_the_agent_may_write_where_its_configuration_says_by_default(folder: Path) -> None:
    unit, paths = service(folder / "edgewright-agent.service"), PathsSection()

    assert unit["ProtectSystem"] == "strict"
    assert paths.state == f"/var/lib/{unit['StateDirectory']}"
    assert paths.socket == f"/run/{unit['RuntimeDirectory']}/agent.sock"


def test_applications_of_other_users_may_read_the_models(folder: Path) -> None:
    assert service(folder / "edgewright-agent.service")["StateDirectoryMode"] == "0755"


def test_the_worker_keeps_its_devices_and_the_agent_its_network(folder: Path) -> None:
    agent, worker = service(folder / "edgewright-agent.service"), service(folder / "edgewright-worker@.service")

    # Each of them puts the unit on a list of allowed devices that has no accelerator; ProtectClock= does before systemd 253.
    assert worker.keys() & {"PrivateDevices", "DevicePolicy", "DeviceAllow", "ProtectClock"} == set()
    assert worker["SupplementaryGroups"].split() == ["video", "render"]
    assert worker["PrivateNetwork"] == "yes"
    assert agent["PrivateDevices"] == "yes"
    assert set(agent["RestrictAddressFamilies"].split()) >= {"AF_UNIX", "AF_INET", "AF_INET6"}


def test_the_agent_asks_the_worker_where_it_listens(folder: Path) -> None:
    environment = dict(entry.split("=", 1) for entry in service(folder / "edgewright-agent.service")["Environment"].split())
    listening = dict(read_unit(folder / "edgewright-worker.socket")["Socket"])
    worker = service(folder / "edgewright-worker@.service")

    assert environment[WORKER_VARIABLE] == listening["ListenStream"]
    assert (listening["Accept"], listening["SocketUser"], listening["SocketMode"]) == ("yes", "edgewright", "0600")
    assert worker["ExecStart"].split()[-1] == serve.__name__
    assert worker["ExecStart"].split()[2] == launch.__name__, "the worker is of the same version as the agent"
    assert worker["StandardInput"] == "socket"
    assert {"MemoryMax", "CPUWeight"} <= dict(read_unit(folder / worker["Slice"])["Slice"]).keys()


def test_the_helper_listens_to_the_agent_alone_and_runs_as_root(folder: Path) -> None:
    listening = dict(read_unit(folder / "edgewright-helper.socket")["Socket"])
    unit = service(folder / "edgewright-helper@.service")

    assert listening["ListenStream"] == str(helper.SOCKET)
    assert (listening["SocketUser"], listening["SocketMode"]) == ("edgewright", "0600")
    assert "User" not in unit
    assert unit["ExecStart"].split()[-1] == helper.__name__


def test_the_watchdog_and_readiness_are_systemd_s(folder: Path) -> None:
    unit = service(folder / "edgewright-agent.service")

    assert (unit["Type"], int(unit["WatchdogSec"]) > 0, unit["Restart"]) == ("notify", True, "always")


def test_a_boot_is_counted_before_the_agent_starts(folder: Path) -> None:
    unit = read_unit(folder / "edgewright-revert.service")

    assert dict(unit["Unit"])["Before"] == "edgewright-agent.service"
    assert dict(unit["Service"])["ExecStart"].endswith("--boot")


def test_a_failed_application_can_write_the_slots_and_nothing_else(folder: Path) -> None:
    unit = service(folder / "edgewright-failed@.service")

    assert unit["ReadWritePaths"] == PathsSection().state
    assert unit["ExecStart"].endswith("--model %i")
    assert LimitsSection().max_starts >= 1


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_runs_as_the_user_that_is_made(folder: Path, unit: str) -> None:
    lines = (folder / "edgewright.sysusers.conf").read_text(encoding="utf-8").splitlines()
    users = {shlex.split(line)[1] for line in lines if line.startswith("u ")}
    groups = {line.split()[2] for line in lines if line.startswith("m ")}

    assert users == {service(folder / unit)["User"]} == {service(folder / unit)["Group"]}
    assert set(service(folder / unit).get("SupplementaryGroups", "").split()) <= groups


def test_secrets_are_closed_to_others(folder: Path) -> None:
    lines = [shlex.split(line) for line in (folder / "edgewright.tmpfiles.conf").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]

    assert [entry[1] for entry in lines] == [
        "/etc/edgewright",
        "/etc/edgewright/agent.toml",
        "/etc/edgewright/password",
        "/etc/edgewright/device.key",
        "/etc/edgewright/helper.toml",
    ]
    assert all(entry[2].endswith("0") for entry in lines[:-1])
    assert lines[-1][2:5] == ["0644", "root", "root"], "commands, which are no secret, and which root alone may change"


def test_the_worker_cannot_read_what_the_broker_knows_the_board_by(folder: Path) -> None:
    """Every file that tmpfiles closes to others but for the configuration, which names no secret."""
    lines = [shlex.split(line) for line in (folder / "edgewright.tmpfiles.conf").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    secrets = {entry[1] for entry in lines if entry[0] == "z" and entry[2] == "0640"} - {"/etc/edgewright/agent.toml"}

    assert set(service(folder / "edgewright-worker@.service")["InaccessiblePaths"].split()) == {f"-{path}" for path in secrets}


def test_the_power_mode_comes_back_before_the_agent_measures(folder: Path) -> None:
    unit = read_unit(folder / "edgewright-power-restore.service")
    _, *words = shlex.split(dict(unit["Service"])["ExecStart"])

    assert dict(unit["Unit"])["ConditionPathExists"] == str(DEFAULT_JOURNAL)
    assert dict(unit["Unit"])["Before"] == "edgewright-agent.service"
    context = program.make_context("edgewright", words)
    assert program.resolve_command(context, words)[0] == "power"
    with pytest.raises(SystemExit) as ended:
        program.main([*words, "--help"])
    assert ended.value.code == 0


def test_it_runs_as_root_since_nvpmodel_wants_it(folder: Path) -> None:
    assert "User" not in service(folder / "edgewright-power-restore.service")
