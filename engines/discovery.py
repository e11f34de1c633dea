"""Which backends there are and which can be used here."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import Unfit
from ..core.plugins import load_plugin, plugin_names
from . import backends
from .base import Backend

PREFERENCE = ("tensorrt", "tensorrt_rtx", "onnxruntime")


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """One backend: usable, or the reason why not; `version` and `device` are empty when it is not."""

    name: str
    reason: str | None
    version: str = ""
    device: str = ""

    @property
    def is_usable(self) -> bool:
        return self.reason is None


def load_backend(name: str) -> Backend:
    """The backend `name`, whether usable or not.

    Raises:
        Rejected: ``unknown-plugin``.
    """
    backend: Backend = load_plugin(backends, name).BACKEND
    return backend


def usable_backend(name: str | None) -> tuple[str, Backend]:
    """The backend `name`, or the best usable one when None.

    Raises:
        Rejected: ``unknown-plugin``.
        Unfit: ``backend-unavailable`` with the backend's own reason.
    """
    if name is not None:
        backend = load_backend(name)
        reason = backend.unavailable()
        if reason is not None:
            raise Unfit("backend-unavailable", f"the backend {name} cannot be used here: {reason}", "edgewright doctor lists what can")
        return name, backend
    known = plugin_names(backends)
    for candidate in (*PREFERENCE, *(other for other in known if other not in PREFERENCE)):
        if candidate in known and load_backend(candidate).unavailable() is None:
            return candidate, load_backend(candidate)
    raise Unfit("backend-unavailable", "no backend can be used here", "edgewright doctor says what each of them lacks")


def backend_statuses() -> tuple[BackendStatus, ...]:
    """Every backend found, for ``doctor`` and for the device's capabilities."""
    statuses = []
    for name in plugin_names(backends):
        backend = load_backend(name)
        reason = backend.unavailable()
        if reason is None:
            capabilities = backend.capabilities()
            statuses.append(BackendStatus(name, None, capabilities.version, capabilities.device))
        else:
            statuses.append(BackendStatus(name, reason))
    return tuple(statuses)
