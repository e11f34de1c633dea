"""The pre-start process, as a process: it counts starts, takes a crash-looping trial out, and hardly ever keeps the agent from starting."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from edgewright.agent import revert


@pytest.fixture
def on_trial(device: Any) -> Any:
    """A device whose second version is on trial; two models."""
    device.want(device.order("d1"), other=device.order("d1"))
    device.settle()
    device.want(device.order("d2", seed=2, probation_s=1000.0), other=device.order("d2", seed=2, probation_s=1000.0))
    device.run_to("PROBATION")
    device.run_to("PROBATION", "other")
    (device.state / "agent.toml").write_text('fleet = "fleet"\ndevice = "board-1"\nbroker.host = "x"\npaths.state = "."\nlimits.max_starts = 2\n')
    return device


def arguments(device: Any, *more: str) -> list[str]:
    return ["--config", str(device.state / "agent.toml"), *more]


def test_too_many_starts_take_every_trial_out(on_trial: Any, capsys: pytest.CaptureFixture[str]) -> None:
    seen = []
    for _ in range(3):
        assert revert.main(arguments(on_trial)) == 0
        seen.append((on_trial.current(), on_trial.current("other")))

    assert seen == [("d2-1", "d2-1"), ("d2-1", "d2-1"), ("d1-1", "d1-1")]
    assert capsys.readouterr().err.count("taken out") == 2


def test_a_failing_application_counts_for_its_own_model(on_trial: Any) -> None:
    for _ in range(3):
        assert revert.main(arguments(on_trial, "--model", "surface")) == 0

    assert (on_trial.current(), on_trial.current("other")) == ("d1-1", "d2-1")


def test_without_a_trial_nothing_is_counted(on_trial: Any) -> None:
    on_trial.settle(until_s=2000.0)
    for _ in range(5):
        assert revert.main(arguments(on_trial)) == 0

    assert (on_trial.current(), on_trial.state_of()) == ("d2-1", "SUCCEEDED")


def test_the_agent_finds_the_reason_when_it_starts(on_trial: Any) -> None:
    for _ in range(3):
        revert.main(arguments(on_trial))
    on_trial.start()
    on_trial.settle()

    assert (on_trial.state_of(), on_trial.current()) == ("FAILED", "d1-1")
    assert "3 times" in on_trial.deployer.deployment("surface").reason.message


def test_a_disk_that_refuses_keeps_no_agent_from_starting(on_trial: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("edgewright.agent.slots.write_atomic", broken)
    assert revert.main(arguments(on_trial)) == 0
    assert "could not be counted" in capsys.readouterr().err


def test_a_configuration_that_cannot_be_read_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert revert.main(["--config", str(tmp_path / "absent.toml")]) == 1
    assert "[config-" in capsys.readouterr().err


def test_a_state_folder_that_is_not_there_yet_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('fleet = "f"\ndevice = "d"\nbroker.host = "x"\npaths.state = "absent"\n')

    assert revert.main(["--config", str(tmp_path / "agent.toml")]) == 0
    assert not (tmp_path / "absent").exists()


def test_it_loads_no_more_than_it_needs() -> None:
    """It must work when what it undoes has broken the agent: no MQTT, no numerics, no command line."""
    code = "import json, sys, edgewright.agent.revert; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(json.loads(done.stdout))

    assert "edgewright.agent.slots" in loaded
    assert {name.partition(".")[0] for name in loaded} & {"paho", "numpy", "onnxruntime", "cryptography", "click", "rich", "psutil"} == set()
    assert {"edgewright.agent.daemon", "edgewright.agent.deployer", "edgewright.core.wire.link", "edgewright.pipeline"} & loaded == set()


def test_as_systemd_runs_it(on_trial: Any) -> None:
    command = [sys.executable, "-m", "edgewright.agent.revert", *arguments(on_trial)]
    for _ in range(3):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={"PYTHONSAFEPATH": "1"})
        assert done.returncode == 0, done.stderr

    assert on_trial.current() == "d1-1"


def test_a_boot_and_the_first_start_after_it_count_once(on_trial: Any) -> None:
    def starts() -> int:
        return int(on_trial.deployer.slots("surface").read().starts)

    before = starts()
    assert revert.main(arguments(on_trial, "--boot")) == 0
    assert starts() == before + 1
    assert revert.main(arguments(on_trial)) == 0
    assert starts() == before + 1, "it belongs to the boot"
    assert revert.main(arguments(on_trial)) == 0
    assert starts() == before + 2, "and this is another one"


def test_boots_alone_take_a_trial_out(on_trial: Any) -> None:
    for _ in range(3):
        assert revert.main(arguments(on_trial, "--boot")) == 0

    assert on_trial.current() == "d1-1"


def test_a_boot_that_cannot_be_noted_counts_all_the_same(on_trial: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_arguments: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(revert, "write_atomic", fail)
    assert revert.main(arguments(on_trial, "--boot")) == 0
    assert "could not be noted" in capsys.readouterr().err
