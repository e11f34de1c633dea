"""What this device says about itself where an engine is bound to it; the key of an engine before anything is built."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..core.digest import digest_of_file
from ..core.errors import Unfit
from ..profiling.board import Board, read_board
from ..profiling.conditions import power_mode
from ..profiling.sysfs import Sysfs
from .base import BuildOptions, Capabilities
from .fingerprint import Compatibility, EngineKey
from .model import digest_of_model


class KeptOptions(msgspec.Struct, frozen=True):
    """What of `options_text` opening the engine needs again; `profiles` are least, usual and largest shapes."""

    device_id: int = 0
    workspace_mb: int | None = None
    optimization_level: int | None = None
    profiles: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {}
    dla_core: int | None = None
    sparse: bool = False
    stripped: bool = False
    refittable: bool = False
    compatibility: Compatibility = "none"


def engine_key(model: Path, table_digest: str, backend: str, capabilities: Capabilities, options: BuildOptions) -> EngineKey:
    """The key of the engine that `backend` would make of `model` here and now."""
    board = read_board()
    return EngineKey(
        model_digest=digest_of_model(model),
        table_digest=table_digest,
        backend=backend,
        backend_version=capabilities.version,
        processor=local_processor(capabilities, board),
        driver=local_driver(capabilities, board),
        power_mode=power_mode(Sysfs()) or "",
        options=options_text(options, capabilities),
    )


def local_processor(capabilities: Capabilities, board: Board) -> str:
    return capabilities.hardware or board.processor or board.model


def local_driver(capabilities: Capabilities, board: Board) -> str:
    return "; ".join(part for part in (capabilities.driver and f"CUDA {capabilities.driver}", board.release) if part)


def options_text(options: BuildOptions, capabilities: Capabilities) -> str:
    """Canonical JSON of what changes an engine; where caches lie does not, what a calibration cache says does."""
    cache = options.calibration_cache
    plain = {
        "precision": options.precision,
        "threads": options.threads,
        "batch": options.batch,
        "provider": options.provider or capabilities.device,
        "device_id": options.device_id,
        "workspace_mb": options.workspace_mb,
        "optimization_level": options.optimization_level,
        "profiles": {name: (p.minimum, p.optimum, p.maximum) for name, p in options.profiles.items()},
        "calibration": digest_of_file(cache) if cache is not None else "",
        "dla_core": options.dla_core,
        "sparse": options.is_sparse,
        "refittable": options.is_refittable,
        "stripped": options.is_stripped,
        "compatibility": options.compatibility,
        "compute_capability": options.compute_capability,
    }
    return msgspec.json.encode(plain, order="sorted").decode()


def kept_options(key: EngineKey | None) -> KeptOptions:
    """The options that `key` was made of.

    Raises:
        Unfit: ``engine-unusable``: they are not what `options_text` writes.
    """
    if key is None:
        return KeptOptions()
    try:
        return msgspec.json.decode(key.options, type=KeptOptions)
    except msgspec.DecodeError as error:
        raise Unfit("engine-unusable", f"the manifest's options cannot be read: {error}", "Build the engine again") from error
