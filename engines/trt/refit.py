"""New weights for a plan, from an ONNX file of the same graph: seconds instead of a build. TensorRT 10 and later, TensorRT-RTX.

A *stripped* plan has no weights and gets those that it was built from whenever it is loaded; a *refittable* one may get others, once, and is written
again. Needs the GPU: kernels may keep weights in an order of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...core.errors import Rejected
from .binding import Binding
from .errors import last_line

WEIGHTS_NAME = "weights.onnx"
_SAME_GRAPH = "Give a model of the same graph, whose weights alone differ; else build it"


def refit(binding: Binding, engine: Any, model: Path, logger: Any) -> None:
    """Give `engine` the weights of `model`. When this fails the engine must not be used.

    Raises:
        Rejected: ``option-unsupported`` or ``refit-refused``: this release cannot, or the model has another graph.
    """
    if not binding.has_refit:
        raise Rejected("option-unsupported", f"{binding.name} {binding.version} cannot refit a plan from ONNX", "Build the model instead")
    refitter = binding.trt.Refitter(engine, logger)
    parser = binding.trt.OnnxParserRefitter(refitter, logger)
    if not parser.refit_from_file(str(model)):
        said = [str(parser.get_error(index).desc()) for index in range(parser.num_errors)]
        raise _refused(model, said or logger.kept)
    missing = list(refitter.get_missing_weights())
    if missing:
        raise _refused(model, [f"it has no weights for {', '.join(missing[:4])}"])
    if not refitter.refit_cuda_engine():
        raise _refused(model, logger.kept)


def serialized(binding: Binding, engine: Any) -> Any:
    """The refitted engine as a plan that may be refitted again, where this release can keep that."""
    config = engine.create_serialization_config()
    include = getattr(binding.trt.SerializationFlag, "INCLUDE_REFIT", None)
    if include is not None:
        config.set_flag(include)
    return engine.serialize_with_config(config)


def _refused(model: Path, lines: Iterable[str]) -> Rejected:
    why = last_line(lines) or "it gave no reason"
    return Rejected("refit-refused", f"TensorRT cannot take the weights of {model.name}: {why}", _SAME_GRAPH)
