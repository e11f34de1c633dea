"""ONNX Runtime: runs the ``.onnx`` itself; "building" is loading it once on the provider that was asked for.

Rules:
- the provider that really runs is asked of the session, never assumed: one that was asked for and fell back is an error;
- the default provider is the best one that loads here, in the order TensorRT, CUDA, CPU;
- spinning is off: a waiting thread that burns a core costs a board energy;
- its telemetry is off: this program talks to its owner's broker and to nobody else.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from ...core.errors import EdgewrightError, Faulty, Rejected, Unfit
from ...core.tensors import TensorSpec
from ..base import Array, BuildOptions, Capabilities, EngineFile, Progress, Runner, Tensors
from ..feeds import check_feeds
from ..model import first_line, read_model

CPU = "CPUExecutionProvider"
PREFERENCE = ("TensorrtExecutionProvider", "CUDAExecutionProvider", CPU)
ENGINE_NAME = "model.onnx"
_DTYPES = {
    "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64", "tensor(uint8)": "uint8", "tensor(int8)": "int8",
    "tensor(int32)": "int32", "tensor(int64)": "int64", "tensor(bool)": "bool", "tensor(uint16)": "uint16", "tensor(int16)": "int16",
    "tensor(uint32)": "uint32", "tensor(uint64)": "uint64",
}  # fmt: skip
_REFUSALS = frozenset({"InvalidProtobuf", "InvalidGraph", "InvalidArgument", "NoModel", "Fail", "NotImplemented", "ModelRequiresCompilation"})
_NO_OPERATOR = (
    re.compile(r"implementation for (\S+?)\(\d+\) node with name"),
    re.compile(r"(\S+?)\(-?\d+\) is not a registered function/op"),
    re.compile(r"No Op registered for (\S+)"),
)
# "[ONNXRuntimeError] : 1 : FAIL : Load model from /a/b.onnx failed:" says nothing that the rest does not.
_DECORATION = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from \S+ failed:\s*|Fatal error: ")


def _load() -> Any:
    """The library. Since 1.29 its Linux builds report models and machines to its maker, unless they are told not to before they load."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


class OnnxRuntimeRunner:
    """An opened session on one provider."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs = tuple(_spec(value) for value in session.get_inputs())
        self.outputs = tuple(_spec(value) for value in session.get_outputs())
        self.provider: str = session.get_providers()[0]
        self._output_names = [spec.name for spec in self.outputs]
        self._run = session.run

    def infer(self, feeds: Tensors) -> dict[str, Array]:
        try:
            values = self._run(self._output_names, feeds)
        except Exception as error:
            # Only asked after a failure, so that a right call pays nothing.
            check_feeds(feeds, self.inputs)
            text = _DECORATION.sub("", first_line(error))
            raise Faulty("inference-failed", f"ONNX Runtime failed: {text}", "Report this with the model") from error
        return dict(zip(self._output_names, values, strict=True))

    def close(self) -> None:
        self._session = self._run = None

    def __enter__(self) -> OnnxRuntimeRunner:  # noqa: PYI034 - Self is not in Python 3.10's typing
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class OnnxRuntimeBackend:
    """The `Backend` of ONNX Runtime."""

    def unavailable(self) -> str | None:
        try:
            onnxruntime = _load()
        except ImportError as error:
            return f"onnxruntime cannot be imported ({error}): pip install onnxruntime"
        return None if onnxruntime.get_available_providers() else "this onnxruntime has no execution provider: install it again"

    def capabilities(self) -> Capabilities:
        import platform

        onnxruntime = _load()
        best = next(name for name in PREFERENCE if name in onnxruntime.get_available_providers())
        dialect = "tensorrt" if best.startswith("Tensorrt") else f"onnxruntime-{platform.machine()}"
        return Capabilities(onnxruntime.__version__, best, ("fp32", "int8"), dialect)

    def build(self, model: Path, folder: Path, options: BuildOptions, progress: Progress) -> EngineFile:
        onnxruntime = _load()
        progress(0.0, "checking the model")
        proto = read_model(model, with_weights=False)
        engine = folder / ENGINE_NAME
        shutil.copyfile(model, engine)
        size_bytes = engine.stat().st_size
        for name in sorted(external_files(proto)):
            source = model.parent / name
            if not source.is_file():
                raise Rejected("model-unreadable", f"{model.name} needs {name}, which is not beside it", "Send its external data too")
            shutil.copyfile(source, folder / name)
            size_bytes += (folder / name).stat().st_size
        progress(0.3, "loading it")
        with self.open(engine, options) as runner:
            provider = runner.provider
        progress(1.0, "built")
        return EngineFile(engine, "onnxruntime", onnxruntime.__version__, provider, size_bytes)

    def open(self, engine: Path, options: BuildOptions) -> Runner:
        onnxruntime = _load()
        if not engine.is_file():
            raise Unfit("engine-unusable", f"there is no engine at {engine.name}", "Build it again")
        wanted, available = options.provider, onnxruntime.get_available_providers()
        if wanted is not None and wanted not in available:
            has = ", ".join(available)
            raise Unfit("provider-unusable", f"this ONNX Runtime has no {wanted}", f"It has {has}; install another package of it")
        providers = [name for name in PREFERENCE if name in available] if wanted is None else [wanted]
        runner = open_runner(str(engine), engine.name, threads=options.threads, providers=providers)
        if wanted not in {None, runner.provider}:
            fallback = runner.provider
            runner.close()
            message = f"{wanted} was asked for, but ONNX Runtime fell back to {fallback}"
            raise Unfit("provider-unusable", message, "Install the libraries of that provider, or ask for the CPU")
        return runner


def open_runner(
    model: str | bytes, name: str, *, threads: int, providers: list[str], is_frugal: bool = False, is_optimized: bool = True
) -> OnnxRuntimeRunner:
    """A runner for the ONNX file at the path `model`, or in its bytes; `name` is for messages, `threads` 0 = all cores.

    The first of `providers` that loads runs it, the CPU after them; which one stands in `provider`. `is_frugal` gives memory back after
    every run instead of keeping it for the next; without `is_optimized` every node runs as it is written, nothing is fused.

    Raises:
        EdgewrightError: see `load_error`.
    """
    onnxruntime = _load()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if is_frugal:
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    if not is_optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return OnnxRuntimeRunner(onnxruntime.InferenceSession(model, options, providers=list(dict.fromkeys([*providers, CPU]))))
    except Exception as error:
        raise load_error(name, error) from error


def external_files(proto: Any) -> set[str]:
    """The names of the files that hold the weights of `proto` outside it.

    Raises:
        Rejected: ``model-unreadable`` when one is not a plain name beside the model.
    """
    names = {entry.value for tensor in proto.graph.initializer for entry in tensor.external_data if entry.key == "location"}
    for name in names:
        if Path(name).name != name or name in {"", ".", ".."}:
            raise Rejected("model-unreadable", f"the external data {name!r} is not a plain file name", "Save the model's data beside it")
    return names


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


def _spec(value: Any) -> TensorSpec:
    shape = tuple(axis if isinstance(axis, int) and axis > 0 else None for axis in value.shape)
    return TensorSpec(value.name, _DTYPES.get(value.type, value.type), shape)


BACKEND = OnnxRuntimeBackend()
