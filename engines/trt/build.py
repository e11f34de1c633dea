"""Builds a plan: parse, configure, build, write. Runs in a limited child process; minutes on a board."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from ...core.collection import collection_paused
from ...core.errors import Rejected
from ...core.files import write_atomic
from ..base import BuildOptions, EngineFile, Progress, Tensors
from ..model import copy_model, is_half, is_quantized, read_model
from . import timing_cache
from .binding import Binding
from .calibrator import Uploads, make_calibrator
from .config import new_config
from .errors import build_error
from .log import make_logger
from .network import Network, parse_model
from .precision import is_strongly_typed
from .progress import BuildProgress, LineCounter, make_monitor
from .refit import WEIGHTS_NAME

ENGINE_NAME = "model.plan"
CALIBRATION_NAME = "calibration.cache"


@collection_paused()
def build_plan(binding: Binding, model: Path, folder: Path, options: BuildOptions, progress: Progress) -> EngineFile:
    """Build `model` into ``folder/model.plan``. What `progress` raises cancels the build and is raised again.

    Raises:
        Rejected: ``model-unreadable``, ``operator-unsupported``, ``profile-missing``, ``option-unsupported``, ``half-missing`` or ``build-refused``.
        Unfit: ``backend-unavailable``, ``out-of-memory`` or ``dla-unavailable``.
    """
    progress(0.0, "reading the model")
    # Our own reading of the file is stricter about what is no model at all, and says it better.
    proto = read_model(model, with_weights=False)
    _check_types(binding, proto, options)
    state = BuildProgress(progress)
    counter = None if binding.has_progress_monitor else LineCounter(state)
    logger = make_logger(binding.trt, counter, is_verbose=counter is not None)
    network = parse_model(binding, model, logger, is_typed=is_strongly_typed(binding, proto, options))
    if counter is not None:
        counter.expected = int(network.network.num_layers)
    config = new_config(binding, network, options)
    timing_cache.attach(binding, config, options.timing_cache)
    monitor = None
    if binding.has_progress_monitor:
        monitor = config.progress_monitor = make_monitor(binding, state)
    with _uploads(options, proto, binding) as uploads:
        calibrator = _calibrator(binding, proto, options, uploads)
        if calibrator is not None:
            config.int8_calibrator = calibrator
        plan = _build(network, config)
    if state.error is not None:
        raise state.error
    if plan is None:
        raise build_error(model.name, logger.kept)
    timing_cache.merge_back(binding, config, options.timing_cache)
    engine = folder / ENGINE_NAME
    write_atomic(engine, memoryview(plan))
    if options.is_stripped:
        copy_model(model, proto, folder / WEIGHTS_NAME)
    if calibrator is not None and calibrator.written is not None:
        write_atomic(folder / CALIBRATION_NAME, calibrator.written)
    del monitor
    progress(1.0, "built")
    return EngineFile(engine, binding.name, binding.version, binding.name, sum(path.stat().st_size for path in folder.iterdir()))


def _build(network: Network, config: Any) -> Any:
    """The serialised plan, None when TensorRT refuses: its log says why."""
    try:
        return network.builder.build_serialized_network(network.network, config)
    except RuntimeError:
        return None


def _check_types(binding: Binding, proto: Any, options: BuildOptions) -> None:
    """Without precision flags the model's own types decide: an engine must not be called what they are not."""
    if not binding.has_flags and options.precision in {"fp16", "mixed"} and not is_half(proto):
        message = f"{binding.name} {binding.version} takes half precision only from the model's own types, and the model has none"
        raise Rejected("half-missing", message, "edgewright calibrate --precision fp16 writes such a model")


def _calibrator(binding: Binding, proto: Any, options: BuildOptions, uploads: Uploads | None) -> Any | None:
    if options.precision not in {"int8", "mixed"} or is_quantized(proto):
        return None
    if not binding.has_flags:
        message = f"{binding.name} {binding.version} takes INT8 only from Q/DQ nodes, and the model has none"
        raise Rejected("calibration-missing", message, "edgewright calibrate writes such a model")
    cache = options.calibration_cache.read_bytes() if options.calibration_cache is not None else None
    batches: Iterator[Tensors] | None = options.calibration_batches() if options.calibration_batches is not None and cache is None else None
    return make_calibrator(binding, cache=cache, batches=batches, batch_size=options.batch, uploads=uploads)


def _uploads(options: BuildOptions, proto: Any, binding: Binding) -> AbstractContextManager[Uploads | None]:
    """Device memory for calibration batches, where they are needed."""
    needs = options.precision in {"int8", "mixed"} and options.calibration_batches is not None and options.calibration_cache is None
    if not needs or is_quantized(proto) or not binding.has_flags:
        return nullcontext()
    from .device import open_uploads

    return open_uploads(options.device_id)
