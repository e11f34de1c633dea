"""Bytes written, by deployment."""

from __future__ import annotations

from typing import Any

from edgewright.agent.journal import DeploymentRecord
from edgewright.agent.wear import Wear


def test_what_was_written_between_two_looks_is_the_deployment_s(device: Any) -> None:
    counter = iter([1000, 1500, 1800])
    wear = Wear(lambda: next(counter))
    record = DeploymentRecord(order=device.order("d1"))

    assert wear.of("surface", record) == 0  # what was written before it is not its own
    record.written_bytes = 0
    assert wear.of("surface", record) == 500
    record.written_bytes = 500
    assert wear.of("surface", record) == 800


def test_after_a_restart_the_count_goes_on_from_the_record(device: Any) -> None:
    counter = iter([40, 70])
    wear = Wear(lambda: next(counter))
    record = DeploymentRecord(order=device.order("d1"), written_bytes=800)

    assert wear.of("surface", record) == 800
    assert wear.of("surface", record) == 830


def test_a_kernel_that_does_not_count_leaves_it_unknown(device: Any) -> None:
    assert Wear(lambda: None).of("surface", DeploymentRecord(order=device.order("d1"))) is None
