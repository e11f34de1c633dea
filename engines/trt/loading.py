"""From a plan file to an engine in memory, with what its options need: a DLA core, its own runtime code, its weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ...core.collection import collection_paused
from ...core.files import write_atomic
from ..base import BuildOptions
from ..model import copy_model, read_model
from .binding import Binding
from .device import open_device
from .errors import device_error, load_error
from .log import make_logger
from .refit import WEIGHTS_NAME, refit, serialized


def load_plan(binding: Binding, plan: Path, options: BuildOptions, logger: Any) -> Any:
    """The engine of `plan`, ready to run; the device's context is current. A stripped plan gets its weights from the file beside it.

    Raises:
        Unfit: ``engine-unusable``, ``engine-foreign``, ``backend-unavailable`` or ``out-of-memory``.
    """
    engine = deserialize(binding, plan, options, logger)
    if options.is_stripped:
        refit(binding, engine, plan.with_name(WEIGHTS_NAME), logger)
    return engine


def deserialize(binding: Binding, plan: Path, options: BuildOptions, logger: Any) -> Any:
    """The engine as the file has it.

    Raises:
        Unfit: as `load_plan`.
    """
    try:
        runtime = binding.trt.Runtime(logger)
    except (TypeError, RuntimeError) as error:
        raise device_error(error) from error
    if options.dla_core is not None:
        runtime.DLA_core = options.dla_core
    if options.compatibility == "version":
        # Such a plan brings code for later releases with it; it was sealed before it came here.
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(plan.read_bytes())
    if engine is None:
        raise load_error(plan.name, logger.kept)
    return engine


@collection_paused()
def refit_plan(binding: Binding, plan: Path, model: Path, target: Path, options: BuildOptions) -> None:
    """Write `plan` with the weights of `model` to `target`; of a stripped plan, the file of its weights is replaced instead.

    Raises:
        Rejected: ``model-unreadable``, ``option-unsupported`` or ``refit-refused``.
        Unfit: as `load_plan`.
    """
    proto = read_model(model, with_weights=False)
    logger = make_logger(binding.trt)
    device = open_device(options.device_id)
    try:
        with device.current():
            engine = deserialize(binding, plan, options, logger)
            refit(binding, engine, model, logger)
            if options.is_stripped:
                shutil.copyfile(plan, target)
                copy_model(model, proto, target.with_name(WEIGHTS_NAME))
            else:
                write_atomic(target, memoryview(serialized(binding, engine)))
            del engine
    finally:
        device.close()
