"""The demo as a person runs it: everything is seen, on either broker, and nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from edgewright.controller.broker import find_mosquitto

COMMAND = [sys.executable, "-m", "edgewright.cli.main", "demo"]
MARK = "EDGEWRIGHT_DEMO_TEST"
LIMIT_S = 120


def marked(value: str, folder: Path) -> dict[str, str]:
    """An environment that every process of one demo inherits, and a place for its folders."""
    folder.mkdir()
    return os.environ | {MARK: value, "TMPDIR": str(folder), "PYTHONSAFEPATH": "1"}


def processes_with(value: str) -> list[str]:
    """The command lines of living processes that carry the mark."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={value}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize("broker", ["mosquitto", "amqtt"])
def test_the_demo_sees_one_deployment_accepted_and_two_refused(broker: str, tmp_path: Path) -> None:
    if broker == "mosquitto" and find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    environment = marked(broker, tmp_path / "t")

    done = subprocess.run([*COMMAND, "--broker", broker, "--json"], capture_output=True, text=True, env=environment, timeout=LIMIT_S, check=False)

    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    ends = [(entry["name"], entry["expected"], entry["state"]) for entry in seen["deployments"]]
    assert ends == [("accepted", "SUCCEEDED", "SUCCEEDED"), ("refused", "REJECTED", "REJECTED"), ("corrupted", "REJECTED", "REJECTED")]
    codes = [{reason["code"] for reason in entry["reasons"]} for entry in seen["deployments"]]
    assert codes == [set(), {"budget"}, {"chunk-corrupt"}]
    assert [device["online"] for device in seen["devices"]] == [True, True]
    assert [row["device"] for row in seen["table"]] == ["board-1", "board-2"]
    for row in seen["table"]:
        assert 0.90 <= row["baseline"]["fidelity"]["top1"] <= 0.99
        assert row["chosen"]["fidelity"]["top1_fp32"] == row["baseline"]["fidelity"]["top1"]
        assert row["chosen"]["energy_mj"] is not None or row["chosen"]["energy_reason"]
    assert processes_with(broker) == []
    assert list((tmp_path / "t").glob("edgewright-demo-*")) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_no_process_and_no_folder(number: signal.Signals, tmp_path: Path) -> None:
    value = number.name
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=marked(value, tmp_path / "t")) as demo:
        assert demo.stdout is not None
        while "OPTIMIZING" not in demo.stdout.readline():
            assert demo.poll() is None
        assert len(processes_with(value)) >= 4
        demo.send_signal(number)
        demo.stdout.read()
        status = demo.wait(LIMIT_S)

    assert status == 130
    assert processes_with(value) == []
    assert list((tmp_path / "t").glob("edgewright-demo-*")) == []
