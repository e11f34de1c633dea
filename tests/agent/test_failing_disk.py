"""A disk that takes no more, from any change on: the device keeps its engine, says why, and works again as soon as the disk does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

STEP = {"out of descriptors": 1}
SECONDS = 60.0


def old_engine_is_whole(device: Any) -> bool:
    return device.current() in {"d1-1", "d2-1"}


@pytest.mark.parametrize("kind", ["full", "read-only", "broken", "out of descriptors"])
def test_from_any_change_on_a_failing_disk_costs_a_deployment_at_most_and_nothing_for_long(
    kind: str, tmp_path: Path, load_fake: Callable[[str], ModuleType], fake_device: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = fake_device.Device(tmp_path / "prepared")
    prepared.want(prepared.order("d1", size=200_000))
    prepared.settle()
    state = tmp_path / "state"
    disk = load_fake("failing_disk").FailingDisk(state, kind)
    disk.install(monkeypatch)

    def tell(at: int | None) -> Any:
        shutil.rmtree(state, ignore_errors=True)
        shutil.copytree(tmp_path / "prepared", state, symlinks=True)
        device = fake_device.Device(state)
        disk.at, disk.passed, disk.failed = at, 0, 0
        goal = device.order("d2", size=200_000, seed=2)
        try:
            device.want(goal)
        except Exception:
            disk.mend()  # the envelope is kept and verified again later (`Envelopes`): the goal was not lost
            device.want(goal)
            disk.at = at
        device.settle(until_s=30.0)
        assert old_engine_is_whole(device), f"while it fails, from change {at} on"
        disk.mend()
        device.clock.pass_s(1.0)
        device.settle(until_s=SECONDS)
        return device

    device = tell(None)
    changes = disk.passed
    assert device.state_of() == "SUCCEEDED"
    assert changes > 30
    for at in range(0, changes, STEP.get(kind, 3)):
        device = tell(at)
        assert disk.failed or at >= changes - 4
        ended = (device.state_of(), device.reason_of())
        assert ended in {
            ("SUCCEEDED", None),
            ("FAILED", "disk-full"),
            ("FAILED", "disk-read-only"),
            ("FAILED", "disk-failed"),
            ("FAILED", "internal-error"),
            ("FAILED", "rolled-back"),
        }, (at, ended)
        assert old_engine_is_whole(device), at
        assert [reason.code for reason in device.deployer.problems.values()] == [], at

        device.want(device.order("d3", size=200_000, seed=3))
        device.settle(until_s=SECONDS)
        assert (device.state_of(), device.current(), fake_device.leftovers(state)) == ("SUCCEEDED", "d3-1", []), at
