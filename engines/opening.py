"""Opens an engine folder: trusted first, then whole, then made for this device, and only then given to its runtime."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import Unfit
from ..profiling.board import read_board
from .base import Backend, BuildOptions, Capabilities, Runner, ShapeProfile
from .compatibility import runs_on, runs_with
from .device import kept_options, local_processor
from .discovery import usable_backend
from .fingerprint import EngineKey, fingerprint
from .manifest import Manifest, decode_manifest, manifest_bytes, verify_files
from .provenance import Trusted, check_origin

_BUILD_AGAIN = "Build it here: edgewright build MODEL, or deploy the model again"


@dataclass(frozen=True, slots=True)
class Checked:
    """An engine folder that may be opened here."""

    folder: Path
    manifest: Manifest
    backend: Backend

    @property
    def engine(self) -> Path:
        return self.folder / self.manifest.engine

    @property
    def options(self) -> BuildOptions:
        """As it was built."""
        manifest, wanted = self.manifest, kept_options(self.manifest.key)
        return BuildOptions(
            precision=manifest.precision,
            threads=manifest.threads,
            batch=manifest.batch,
            provider=manifest.provider or None,
            device_id=wanted.device_id,
            workspace_mb=wanted.workspace_mb,
            optimization_level=wanted.optimization_level,
            profiles={name: ShapeProfile(*shapes) for name, shapes in wanted.profiles.items()},
            dla_core=wanted.dla_core,
            is_sparse=wanted.sparse,
            is_stripped=wanted.stripped,
            is_refittable=wanted.refittable,
            compatibility=wanted.compatibility,
        )

    def open(self) -> Runner:
        return self.backend.open(self.engine, self.options)


def check_folder(folder: Path, trusted: Trusted, *, wanted: str | None = None) -> Checked:
    """Every check on an engine folder; nothing of the engine is read but its digest. `wanted` is the fingerprint that is looked for.

    Raises:
        Unfit: ``engine-untrusted``, ``engine-unusable``, ``engine-foreign`` or ``backend-unavailable``.
    """
    data = manifest_bytes(folder)
    manifest = decode_manifest(folder, data)
    check_origin(folder, data, trusted, fingerprint=manifest.fingerprint, wanted=wanted, now_s=time.time())
    verify_files(folder, manifest)
    if manifest.key is None or fingerprint(manifest.key) != manifest.fingerprint:
        raise Unfit("engine-unusable", f"the manifest of {folder.name} contradicts itself: its fingerprint is not its key's", _BUILD_AGAIN)
    _, backend = usable_backend(manifest.backend)
    _check_hardware(folder, manifest.key, backend.capabilities())
    return Checked(folder, manifest, backend)


def open_folder(folder: Path, trusted: Trusted) -> tuple[Manifest, Runner]:
    """Check `folder` and open its engine.

    Raises:
        Unfit: what `check_folder` raises, or ``engine-unusable`` from the runtime.
    """
    checked = check_folder(folder, trusted)
    return checked.manifest, checked.open()


def _check_hardware(folder: Path, key: EngineKey, capabilities: Capabilities) -> None:
    """A plan runs on the hardware and the runtime version that it was built with, or on what it was built to be compatible with; an ONNX file
    runs anywhere.

    The driver is not compared: a newer one runs older plans, which keeps the old engine going while a new one is built.
    """
    if capabilities.is_plan_portable:
        return
    here, compatibility = local_processor(capabilities, read_board()), kept_options(key).compatibility
    if key.processor != here and not (compatibility == "hardware" and runs_on(here)):
        raise Unfit("engine-foreign", f"the engine {folder.name} was built for {key.processor}, this is {here}", _BUILD_AGAIN)
    if key.backend_version != capabilities.version and not (compatibility == "version" and runs_with(key.backend_version, capabilities.version)):
        message = f"the engine {folder.name} was built with {key.backend} {key.backend_version}, this device has {capabilities.version}"
        raise Unfit("engine-foreign", message, _BUILD_AGAIN)
