"""A package of the agent: wheels, one of them edgewright's own, the others what it needs anew. Pure."""

from __future__ import annotations

from .errors import Rejected
from .wire.messages import Order

SUFFIX = ".whl"
OWN = "edgewright-"


def check_package(order: Order) -> None:
    """Hold the files of a version of the agent against what can be installed.

    Raises:
        Rejected: ``package-malformed``.
    """
    others = [name for name in order.model.files if not name.endswith(SUFFIX)]
    if others:
        raise Rejected("package-malformed", f"{others[0]} is no wheel", "Send wheels alone: pip wheel edgewright")
    if version_of(order.model_file) != order.version:
        message = f"{order.model_file} is not version {order.version} of edgewright"
        raise Rejected("package-malformed", message, "Send it with edgewright fleet update-agent")
    if order.calibration is not None or order.evaluation is not None:
        raise Rejected("package-malformed", "a version of the agent has no samples", "Send it with edgewright fleet update-agent")


def version_of(wheel: str) -> str | None:
    """The version in the file name of a wheel of edgewright (PEP 427); None when it is none."""
    parts = wheel.removesuffix(SUFFIX).split("-")
    return parts[1] if wheel.endswith(SUFFIX) and wheel.startswith(OWN) and len(parts) in {5, 6} else None
