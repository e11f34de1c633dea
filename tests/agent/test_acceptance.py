"""Whether this device takes an order: held against its limits and its space before any effect."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from edgewright.agent.acceptance import check_order
from edgewright.agent.config import LimitsSection
from edgewright.core.artifact import Artifact, Blob
from edgewright.core.budget import Budget
from edgewright.core.errors import Rejected, Unfit

MB = 10**6


def with_blobs(order: Any, size_bytes: int) -> Any:
    """`order` with a model of `size_bytes` that nobody has."""
    blob = Blob("1" * 64, size_bytes, Blob("2" * 64, 100))
    return msgspec.structs.replace(order, model=Artifact({"model.onnx": blob}), calibration=None)


def limited(make_device: Any, **limits: Any) -> Any:
    return make_device(limits=LimitsSection(**({"min_free_bytes": 0} | limits)))


def free_bytes(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    real = os.statvfs

    def statvfs(path: Path) -> Any:
        fields = list(real(path))
        fields[1], fields[4] = 1, count  # fragments of one byte
        return os.statvfs_result(fields)

    monkeypatch.setattr(os, "statvfs", statvfs)


def test_what_fits_is_taken(device: Any) -> None:
    check_order(device.order(), device.config, device.store)


def test_a_coded_model_is_taken(device: Any) -> None:
    order = device.order()
    files = {"model.ewz": order.model.files[order.model_file]}
    check_order(msgspec.structs.replace(order, model_file="model.ewz", model=Artifact(files)), device.config, device.store)


def test_a_model_that_is_not_onnx_is_refused(device: Any) -> None:
    order = msgspec.structs.replace(device.order(), model_file="model.pt")
    with pytest.raises(Rejected) as caught:
        check_order(order, device.config, device.store)

    assert caught.value.code == "model-unsupported"


@pytest.mark.parametrize("budget", [Budget(max_top1_drop=1.5), Budget(max_latency_p99_ms=-1.0), Budget(max_energy_mj=float("nan"))])
def test_a_budget_that_means_nothing_is_refused(device: Any, budget: Budget) -> None:
    with pytest.raises(Rejected) as caught:
        check_order(device.order(budget=budget), device.config, device.store)

    assert caught.value.code == "budget-bad-value"


def test_a_deployment_above_the_device_s_limit_is_refused(make_device: Any) -> None:
    device = limited(make_device, max_deployment_bytes=5 * MB)
    check_order(with_blobs(device.order(), 5 * MB), device.config, device.store)
    with pytest.raises(Rejected) as caught:
        check_order(with_blobs(device.order(), 5 * MB + 1), device.config, device.store)

    assert (caught.value.code, "5000000" in caught.value.message) == ("deployment-too-large", True)


def test_space_is_needed_for_the_download_twice_the_model_beside_it_and_the_reserve(make_device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    device = limited(make_device, min_free_bytes=10 * MB)
    order = with_blobs(device.order(), 5 * MB)
    needed = 5 * MB + 100 + 2 * 5 * MB + 10 * MB  # the model, its chunk list, the build, the reserve
    free_bytes(monkeypatch, needed)
    check_order(order, device.config, device.store)
    free_bytes(monkeypatch, needed - 1)
    with pytest.raises(Unfit) as caught:
        check_order(order, device.config, device.store)

    assert (caught.value.code, "25 MB" in caught.value.message) == ("disk-full", True)


def test_what_is_in_the_store_already_needs_no_space_of_its_own(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    order = device.order("d1")
    device.want(order)
    device.settle()
    free_bytes(monkeypatch, 2 * order.model.size_bytes)

    check_order(order, device.config, device.store)
