"""Opens sessions: threads, providers, and what a failed load means.

Spinning is off: a waiting thread that burns a core costs a board energy. It is on where run follows upon run until the work is done.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...core.errors import EdgewrightError, Faulty, Rejected, Unfit
from ..model import first_line
from .library import onnxruntime_library
from .providers import CPU, ProviderOptions

_REFUSALS = frozenset({"InvalidProtobuf", "InvalidGraph", "InvalidArgument", "NoModel", "Fail", "NotImplemented", "ModelRequiresCompilation"})
_NO_OPERATOR = (
    re.compile(r"implementation for (\S+?)\(\d+\) node with name"),
    re.compile(r"(\S+?)\(-?\d+\) is not a registered function/op"),
    re.compile(r"No Op registered for (\S+)"),
)
# "[ONNXRuntimeError] : 1 : FAIL : Load model from /a/b.onnx failed:" says nothing that the rest does not.
_DECORATION = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from \S+ failed:\s*|Fatal error: ")


def new_session(
    model: str | bytes,
    name: str,
    *,
    threads: int,
    providers: Sequence[tuple[str, ProviderOptions]],
    profile_prefix: Path | None = None,
    is_frugal: bool = False,
    is_steady: bool = False,
    is_optimized: bool = True,
) -> Any:
    """A session of the ONNX file at the path `model`, or in its bytes; `name` is for messages, `threads` 0 = all cores.

    The first of `providers` that loads runs it, the CPU after them. With `profile_prefix` each node is timed into a file of that prefix.
    With `is_steady` threads spin between runs; `is_frugal` gives memory back after every run instead of keeping it for the next; without
    `is_optimized` every node runs as it is written, nothing is fused.

    Raises:
        EdgewrightError: see `load_error`.
    """
    onnxruntime = onnxruntime_library()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    settings.add_session_config_entry("session.intra_op.allow_spinning", "1" if is_steady else "0")
    if profile_prefix is not None:
        settings.enable_profiling = True
        settings.profile_file_prefix = str(profile_prefix)
    if is_frugal:
        settings.enable_cpu_mem_arena = settings.enable_mem_pattern = False
    if not is_optimized:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    offered = [*providers] if any(provider == CPU for provider, _ in providers) else [*providers, (CPU, {})]
    try:
        return onnxruntime.InferenceSession(model, settings, providers=offered)
    except Exception as error:
        raise load_error(name, error) from error


def load_error(name: str, error: Exception) -> EdgewrightError:
    """What a failed load means, by ONNX Runtime's own words.

    Returns:
        Rejected ``operator-unsupported`` or ``model-unreadable``, Unfit ``out-of-memory``, or Faulty ``engine-load-failed``.
    """
    text = _DECORATION.sub("", first_line(error))
    operator = next((found for pattern in _NO_OPERATOR if (found := pattern.search(text)) is not None), None)
    if operator is not None:
        message = f"ONNX Runtime has no operator {operator[1]} as {name} uses it: {text}"
        return Rejected("operator-unsupported", message, "Export the model with operators and types that ONNX Runtime supports")
    if isinstance(error, MemoryError) or "bad_alloc" in text or "Failed to allocate" in text:
        return Unfit("out-of-memory", f"there is not enough memory to load {name}", "Free memory or choose a smaller model")
    if type(error).__name__ in _REFUSALS:
        return Rejected("model-unreadable", f"ONNX Runtime refuses {name}: {text}", "Export the model again; onnx.checker tells more")
    return Faulty("engine-load-failed", f"ONNX Runtime failed to load {name}: {text}", "Report this with the model")


def run_error(error: Exception) -> Faulty:
    """What a failed run means when the feeds were right."""
    return Faulty("inference-failed", f"ONNX Runtime failed: {_DECORATION.sub('', first_line(error))}", "Report this with the model")
