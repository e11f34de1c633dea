"""Whether this device takes an order, before any effect."""

from __future__ import annotations

import os

from ..core.artifact import walk_blobs
from ..core.budget import check_budget
from ..core.errors import Rejected, Unfit
from ..core.wire.messages import Order
from .config import AgentConfig
from .downloads import artifacts
from .store import Store
from .version import check_updatable

MODEL_SUFFIXES = (".onnx", ".ewz")
BUILD_FACTOR = 2  # engines and the calibrated model beside the download


def check_order(order: Order, config: AgentConfig, store: Store) -> None:
    """Hold an order against this device's limits and its free space.

    Raises:
        Rejected: ``model-unsupported``, ``package-malformed``, ``budget-bad-value``, ``deployment-too-large``.
        Unfit: ``disk-full``, ``update-unavailable``.
    """
    if order.kind == "agent":
        check_updatable(order)
    elif not order.model_file.endswith(MODEL_SUFFIXES):
        raise Rejected("model-unsupported", f"{order.model_file} is not an ONNX model", "Send a file that ends in .onnx, or a coded one in .ewz")
    check_budget(order.budget)
    size_bytes = sum(artifact.size_bytes for artifact in artifacts(order))
    limit = config.limits.max_deployment_bytes
    if size_bytes > limit:
        message = f"the deployment has {size_bytes} bytes, this device takes {limit}"
        raise Rejected("deployment-too-large", message, "Send less, or raise limits.max_deployment_bytes on the device")
    missing = {blob.digest: blob.size_bytes for artifact in artifacts(order) for blob in walk_blobs(artifact) if not store.has(blob)}
    needed = sum(missing.values()) + BUILD_FACTOR * order.model.size_bytes + config.limits.min_free_bytes
    space = os.statvfs(config.state)
    free = space.f_bavail * space.f_frsize
    if free < needed:
        message = f"the deployment needs {needed / 1e6:.0f} MB of disk, {free / 1e6:.0f} MB are free"
        raise Unfit("disk-full", message, f"Free space on the file system of {config.state} and send the deployment again")
