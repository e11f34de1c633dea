"""Engine folders as the builder leaves them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from edgewright.engines.fingerprint import EngineKey, fingerprint
from edgewright.engines.manifest import Manifest, list_files, write_manifest
from edgewright.engines.provenance import device_signer


@pytest.fixture
def seal_folder() -> Callable[..., Manifest]:
    """``seal_folder(folder, identity, **key)`` makes a folder with ``model.onnx`` an engine of the device whose key is in `identity`."""

    def seal(folder: Path, identity: Path, *, backend: str = "onnxruntime", engine: str = "model.onnx", **changes: str) -> Manifest:
        parts = {"model_digest": "m", "table_digest": "", "processor": "cpu", "driver": "", "power_mode": "", "options": "{}"}
        key = EngineKey(**{"backend_version": "1", **parts, **changes}, backend=backend)
        manifest = Manifest(
            model="m",
            model_version=folder.name,
            engine=engine,
            card=None,
            backend=backend,
            backend_version=key.backend_version,
            provider="CPUExecutionProvider" if backend == "onnxruntime" else "",
            fingerprint=fingerprint(key),
            key=key,
            files=list_files(folder),
        )
        write_manifest(folder, manifest, device_signer(identity))
        return manifest

    return seal
