"""TensorRT as one release of it is: only names that its real bindings have exist (``tensorrt_api.json``), and every use of one is recorded.

What it does is real where it can be: it parses ONNX files, runs "plans" by onnxruntime on the fake device's memory, and asks calibrators, monitors,
timing caches and output allocators in the order in which TensorRT does. Errors have TensorRT's own words.
"""

from __future__ import annotations

import enum
import json
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx

API: dict[str, Any] = json.loads(Path(__file__).with_name("tensorrt_api.json").read_text("utf-8"))
RELEASES = tuple(API)
MAGIC = b"fake-plan\n"
_TYPES = {1: "FLOAT", 10: "HALF", 3: "INT8", 6: "INT32", 7: "INT64", 9: "BOOL", 2: "UINT8"}


class Settings:
    """What a test wants of the fake: free memory for builds, DLA cores, the plugin operators it has, the device's memory."""

    def __init__(self, memory: Any = None, *, dla_cores: int = 0, has_device: bool = True, failure: str | None = None) -> None:
        self.memory = memory
        self.dla_cores = dla_cores
        self.has_device = has_device
        self.failure = failure
        self.gpu = "SM87"
        self.loaded_with: tuple[int | None, bool] = (None, False)
        self.builds: list[Any] = []
        self.used: set[tuple[str, str]] = set()


def make_module(release: str, settings: Settings) -> Any:
    """A module that looks like ``tensorrt`` of `release`."""
    module: Any = ModuleType("tensorrt")
    api = API[release]
    module.__version__ = api["version"]
    for name, members in api["enums"].items():
        setattr(module, name, _recorded_enum(name, members, settings))
    module.Dims = tuple
    behaviours = _behaviours(module, settings, release)
    for name, names in api["classes"].items():
        setattr(module, name, _strict(name, names, behaviours.get(name, {}), settings))
    if "Severity" in api["classes"]["ILogger"]:
        module.ILogger.Severity = module.Logger.Severity = enum.IntEnum(
            "Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"], start=0
        )
    return module


def _say(logger: Any, level: Any, words: str) -> None:
    logger.log(level, words)


def _recorded_enum(name: str, members: list[str], settings: Settings) -> Any:
    class Recording(enum.EnumMeta):
        def __getattribute__(cls, attribute: str) -> Any:
            if attribute in members:
                settings.used.add((name, attribute))
            return super().__getattribute__(attribute)

    return Recording(name, (enum.IntEnum,), _namespace(name, members))


def _namespace(name: str, members: list[str]) -> Any:
    namespace = enum.EnumMeta.__prepare__(name, (enum.IntEnum,))
    for value, member in enumerate(members):
        namespace[member] = value
    return namespace


def _strict(name: str, names: list[str], behaviour: dict[str, Any], settings: Settings) -> Any:
    """A class whose public attributes are `names` and no others; what a test needs of them is in `behaviour`."""
    allowed = set(names)

    def getattribute(self: Any, attribute: str) -> Any:
        if attribute in allowed:
            settings.used.add((name, attribute))
        return object.__getattribute__(self, attribute)

    def setattribute(self: Any, attribute: str, value: Any) -> None:
        # Subclasses of our own add what they like; the real classes refuse in C++.
        if type(self).__module__ == "tensorrt" and not attribute.startswith("_"):
            if attribute not in allowed:
                raise AttributeError(f"{name} of this release has no {attribute}")
            settings.used.add((name, attribute))
        object.__setattr__(self, attribute, value)

    known = {key: value for key, value in behaviour.items() if key in allowed or key.startswith("_")}
    # Attributes that the release has and nothing here gives a meaning to can be looked for on the class, as with pybind11.
    rest = {key: None for key in allowed if key not in known and key != "Severity"}
    return type(name, (), {**rest, **known, "__getattribute__": getattribute, "__setattr__": setattribute, "__module__": "tensorrt"})


def _behaviours(trt: Any, settings: Settings, release: str) -> dict[str, dict[str, Any]]:
    version = API[release]["version"]

    def new(name: str, /, **fields: Any) -> Any:
        made = getattr(trt, name).__new__(getattr(trt, name))
        for key, value in fields.items():
            object.__setattr__(made, key, value)
        return made

    # --- parsing ---

    def tensor_of(value: Any) -> Any:
        kind = value.type.tensor_type
        shape = tuple(axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else -1 for axis in kind.shape.dim)
        return new("ITensor", name=value.name, shape=shape, dtype=getattr(trt.DataType, _TYPES[kind.elem_type]))

    def parser_init(self: Any, network: Any, logger: Any) -> None:
        self._network, self._logger, self._errors = network, logger, []

    def parse_from_file(self: Any, path: str) -> bool:
        try:
            model = onnx.load_model(path)
        except Exception:
            error = {"code": "MODEL_DESERIALIZE_FAILED", "desc": "Failed to parse the ONNX model.", "node": -1, "name": "", "op": ""}
            self._errors.append(error)
            return False
        for index, node in enumerate(model.graph.node):
            if not onnx.defs.has(node.op_type, node.domain):
                words = "Plugin not found, are the plugin name, version, and namespace correct?"
                self._errors.append({"code": "INVALID_NODE", "desc": words, "node": index, "name": node.name, "op": node.op_type})
        if self._errors:
            return False
        weights = {entry.name for entry in model.graph.initializer}
        self._network._model = model
        self._network._inputs = [tensor_of(value) for value in model.graph.input if value.name not in weights]
        return True

    def complaint(self: Any, index: int) -> Any:
        error = self._errors[index]
        return new("ParserError", _error=error)

    parser = {
        "__init__": parser_init,
        "parse_from_file": parse_from_file,
        "num_errors": property(lambda self: len(self._errors)),
        "get_error": complaint,
    }
    parser_error = {
        "node": lambda self: self._error["node"],
        "desc": lambda self: self._error["desc"],
        "code": lambda self: getattr(trt.ErrorCode, self._error["code"]),
        "node_name": lambda self: self._error["name"],
        "node_operator": lambda self: self._error["op"],
    }

    # --- building ---

    def builder_init(self: Any, logger: Any) -> None:
        if not settings.has_device:
            logger.log(trt.ILogger.Severity.WARNING, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._logger = logger

    def create_network(self: Any, flags: int = 0) -> Any:
        return new("INetworkDefinition", _flags=flags, _inputs=[], _model=None)

    def create_config(self: Any) -> Any:
        return new("IBuilderConfig", _set=set(), _pools={}, _profiles=[], _timing=None, _calibration_profile=None, _logger=self._logger)

    def build(self: Any, network: Any, config: Any) -> Any:
        return _build(trt, settings, release, self._logger, network, config, new)

    builder = {
        "__init__": builder_init,
        "create_network": create_network,
        "create_builder_config": create_config,
        "create_optimization_profile": lambda self: new("IOptimizationProfile", _shapes={}),
        "build_serialized_network": build,
        "num_DLA_cores": property(lambda self: settings.dla_cores),
        "platform_has_fast_fp16": property(lambda self: True),
        "platform_has_fast_int8": property(lambda self: True),
    }
    network = {
        "num_inputs": property(lambda self: len(self._inputs)),
        "num_layers": property(lambda self: len(self._model.graph.node)),
        "get_input": lambda self, index: self._inputs[index],
    }

    def set_timing_cache(self: Any, cache: Any, ignore_mismatch: bool) -> bool:
        if cache._head not in {None, version + settings.gpu}:
            return False
        self._timing = cache
        return True

    def create_timing_cache(self: Any, data: Any) -> Any:
        head, _, rest = bytes(data).partition(b"\n")
        return new("ITimingCache", _head=head.decode() or None, _entries=set(rest.split()))

    def set_flag(self: Any, flag: Any) -> None:
        self._set.add(flag.name)

    def add_profile(self: Any, profile: Any) -> int:
        self._profiles.append(profile._shapes)
        return len(self._profiles) - 1

    def set_calibration_profile(self: Any, profile: Any) -> bool:
        self._calibration_profile = profile._shapes
        return True

    config = {
        "set_flag": set_flag,
        "set_memory_pool_limit": lambda self, pool, size: self._pools.__setitem__(pool.name, size),
        "add_optimization_profile": add_profile,
        "set_calibration_profile": set_calibration_profile,
        "create_timing_cache": create_timing_cache,
        "set_timing_cache": set_timing_cache,
        "get_timing_cache": lambda self: self._timing,
        "set_compute_capability": lambda self, capability, index: self._set.add(capability.name) or True,
    }
    profile = {"set_shape": lambda self, name, *shapes: self._shapes.__setitem__(name, tuple(tuple(shape) for shape in shapes))}
    timing = {
        "combine": lambda self, other, ignore_mismatch: self._entries.update(other._entries) or True,
        "serialize": lambda self: (version + settings.gpu).encode() + b"\n" + b" ".join(sorted(self._entries)),
    }

    # --- refitting ---

    def refitter_init(self: Any, engine: Any, logger: Any) -> None:
        self._engine, self._logger, self._weights, self._offered = engine, logger, {}, set()
        if not (engine._flags & {"REFIT", "REFIT_IDENTICAL"}):
            logger.log(trt.ILogger.Severity.ERROR, "Error Code 3: API Usage Error (Cannot create a refitter for an engine that is not refittable)")

    def refit_parser_init(self: Any, refitter: Any, logger: Any) -> None:
        self._refitter, self._logger, self._errors = refitter, logger, []

    def refit_from_file(self: Any, path: str) -> bool:
        graph, engine = onnx.load_model(path).graph, self._refitter._engine
        if [node.op_type for node in graph.node] != [node.op_type for node in engine._model.graph.node]:
            self._errors.append({"code": "REFIT_FAILED", "desc": "The network and the ONNX model differ", "node": 0, "name": "", "op": ""})
            return False
        wanted = {weights.name: tuple(weights.dims) for weights in engine._model.graph.initializer}
        self._refitter._weights = {weights.name: weights for weights in graph.initializer if wanted.get(weights.name) == tuple(weights.dims)}
        return True

    def refit_engine(self: Any) -> bool:
        if not (self._engine._flags & {"REFIT", "REFIT_IDENTICAL"}):
            return False
        for weights in self._engine._model.graph.initializer:
            weights.CopyFrom(self._weights[weights.name])
        self._engine._is_stripped = False
        return True

    refitter = {
        "__init__": refitter_init,
        "refit_cuda_engine": refit_engine,
        "get_missing_weights": lambda self: [w.name for w in self._engine._model.graph.initializer if w.name not in self._weights],
    }
    refit_parser = {
        "__init__": refit_parser_init,
        "refit_from_file": refit_from_file,
        "num_errors": property(lambda self: len(self._errors)),
        "get_error": complaint,
    }
    serialization = {"set_flag": lambda self, flag: self._set.add(flag.name)}

    # --- running ---

    def runtime_init(self: Any, logger: Any) -> None:
        builder_init(self, logger)

    def deserialize(self: Any, plan: bytes) -> Any:
        settings.loaded_with = (getattr(self, "DLA_core", None), bool(getattr(self, "engine_host_code_allowed", False)))
        return _deserialize(trt, settings, version, self._logger, plan, new)

    def create_context(self: Any) -> Any:
        if self._is_stripped:
            return None
        return new("IExecutionContext", _engine=self, _shapes={}, _addresses={}, _allocators={}, profiler=None)

    def serialize_with_config(self: Any, config: Any) -> bytes:
        flags = self._flags - {"STRIP_PLAN"} - (set() if "INCLUDE_REFIT" in config._set else {"REFIT"})
        return _plan_of({**self._meta, "flags": sorted(flags)}, self._model)

    engine = {
        "num_io_tensors": property(lambda self: len(self._tensors)),
        "get_tensor_name": lambda self, index: list(self._tensors)[index],
        "get_tensor_mode": lambda self, name: self._tensors[name][0],
        "get_tensor_shape": lambda self, name: self._tensors[name][1],
        "get_tensor_dtype": lambda self, name: self._tensors[name][2],
        "create_execution_context": create_context,
        "create_serialization_config": lambda self: new("ISerializationConfig", _set=set()),
        "serialize_with_config": serialize_with_config,
    }
    context = _context_behaviour(trt, settings)
    return {
        "OnnxParser": parser,
        "ParserError": parser_error,
        "Builder": builder,
        "INetworkDefinition": network,
        "IBuilderConfig": config,
        "IOptimizationProfile": profile,
        "ITimingCache": timing,
        "Runtime": {"__init__": runtime_init, "deserialize_cuda_engine": deserialize},
        "ICudaEngine": engine,
        "Refitter": refitter,
        "OnnxParserRefitter": refit_parser,
        "ISerializationConfig": serialization,
        "IExecutionContext": context,
    }


def _build(trt: Any, settings: Settings, release: str, logger: Any, network: Any, config: Any, new: Callable[..., Any]) -> Any:
    severity = trt.ILogger.Severity
    model = network._model
    if settings.failure is not None:
        _say(logger, severity.ERROR, settings.failure)
        return None
    names = API[release]["enums"]["NetworkDefinitionCreationFlag"]
    is_typed = "STRONGLY_TYPED" in names and bool(network._flags >> names.index("STRONGLY_TYPED") & 1)
    if is_typed and (precisions := config._set & {"FP16", "INT8", "BF16", "FP8", "INT4"}):
        words = f"Error Code 3: API Usage Error (precision flags {sorted(precisions)} cannot be set when the network is strongly typed)"
        _say(logger, severity.ERROR, f"IBuilder::buildSerializedNetwork: {words}")
        return None
    free = [tensor for tensor in network._inputs if -1 in tensor.shape]
    if free and not config._profiles:
        words = "Error Code 4: API Usage Error (Network has dynamic or shape inputs, but no optimization profile has been defined.)"
        _say(logger, severity.ERROR, f"IBuilder::buildSerializedNetwork: {words}")
        return None
    monitor = getattr(config, "progress_monitor", None)
    if monitor is not None:
        nodes = len(model.graph.node)
        monitor.phase_start("Building Engine", None, 2)
        for step, phase in enumerate(("Parsing", "Timing")):
            monitor.phase_start(phase, "Building Engine", nodes)
            for index in range(nodes):
                if not monitor.step_complete(phase, index):
                    _say(logger, severity.ERROR, "Error Code 7: BuildCanceled (the build was canceled)")
                    return None
            monitor.phase_finish(phase)
            monitor.step_complete("Building Engine", step)
        monitor.phase_finish("Building Engine")
    for node in model.graph.node:
        _say(logger, severity.VERBOSE, f"--------------- Timing Runner: {node.name} (CaskConvolution)")
    batches, table = _calibrate(trt, settings, network, config)
    if config._timing is not None:
        config._timing._entries.update(node.op_type.encode() for node in model.graph.node)
    meta = {
        "version": API[release]["version"], "gpu": settings.gpu, "flags": sorted(config._set), "pools": config._pools, "profiles": config._profiles,
        "batches": batches, "table": table, "creation": network._flags, "typed": is_typed,
        "compatibility": getattr(getattr(config, "hardware_compatibility_level", None), "name", "NONE"),
    }  # fmt: skip
    settings.builds.append((config, meta))
    if "STRIP_PLAN" in config._set:
        model = onnx.ModelProto.FromString(model.SerializeToString())
        for weights in model.graph.initializer:
            weights.raw_data = b""
    return _plan_of(meta, model)


def _plan_of(meta: dict[str, Any], model: Any) -> bytes:
    head, body = json.dumps(meta).encode(), model.SerializeToString()
    return bytes(MAGIC + struct.pack("<II", len(head), len(body)) + head + body)


def _calibrate(trt: Any, settings: Settings, network: Any, config: Any) -> tuple[list[dict[str, list[float]]], str | None]:
    """TensorRT's order: a cache that is read makes batches unnecessary, otherwise every batch is fetched and the table written."""
    calibrator = getattr(config, "int8_calibrator", None)
    if calibrator is None or "INT8" not in config._set:
        return [], None
    known = calibrator.read_calibration_cache()
    if known is not None:
        return [], bytes(known).decode()
    names = [tensor.name for tensor in network._inputs]
    shapes = {tensor.name: tuple(calibrator.get_batch_size() if axis == -1 else axis for axis in tensor.shape) for tensor in network._inputs}
    batches = []
    while (addresses := calibrator.get_batch(names)) is not None:
        found = {}
        for name, address in zip(names, addresses, strict=True):
            data = settings.memory.read(address, 4 * int(np.prod(shapes[name])))
            found[name] = np.frombuffer(data, np.float32)[:4].tolist()
        batches.append(found)
    calibrator.write_calibration_cache(b"TRT-1-EntropyCalibration2\nx: 3c008912\n")
    return batches, None


def _deserialize(trt: Any, settings: Settings, version: str, logger: Any, plan: bytes, new: Callable[..., Any]) -> Any:
    severity = trt.ILogger.Severity
    if not plan.startswith(MAGIC):
        logger.log(
            severity.ERROR,
            "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion magicTagRead == kMAGIC_TAG failed.)",
        )
        return None
    head_size, model_size = struct.unpack("<II", plan[len(MAGIC) : len(MAGIC) + 8])
    body = plan[len(MAGIC) + 8 :]
    if len(body) != head_size + model_size:
        _say(
            logger, severity.ERROR, "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion sizeRead == size failed.)"
        )
        return None
    meta = json.loads(body[:head_size])
    is_compatible = "VERSION_COMPATIBLE" in meta["flags"] and settings.loaded_with[1]
    if meta["version"] != version and not is_compatible:
        words = f"The engine plan file is not compatible with this version of TensorRT, expecting library version {version} got {meta['version']}"
        _say(logger, severity.ERROR, f"Error Code 1: Serialization (Version tag does not match. {words})")
        return None
    if meta["gpu"] != settings.gpu and meta["compatibility"] != "AMPERE_PLUS":
        words = "Error Code 6: API Usage Error (The engine plan file is generated on an incompatible device"
        _say(logger, severity.ERROR, f"{words}, built for {meta['gpu']})")
        return None
    model = onnx.ModelProto.FromString(body[head_size:])
    weights = {entry.name for entry in model.graph.initializer}
    tensors = {}
    for mode, values in (("INPUT", model.graph.input), ("OUTPUT", model.graph.output)):
        for value in values:
            if value.name not in weights:
                kind = value.type.tensor_type
                shape = tuple(axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else -1 for axis in kind.shape.dim)
                tensors[value.name] = (getattr(trt.TensorIOMode, mode), shape, _data_type(trt, kind.elem_type), kind)
    flags = set(meta["flags"])
    return new(
        "ICudaEngine", _tensors=tensors, _model=model, _profiles=meta["profiles"], _meta=meta, _flags=flags, _is_stripped="STRIP_PLAN" in flags
    )


def _data_type(trt: Any, elem_type: int) -> Any:
    """TensorRT 8 has no INT64: it narrows to INT32."""
    name = _TYPES[elem_type]
    return getattr(trt.DataType, name) if hasattr(trt.DataType, name) else trt.DataType.INT32


def _context_behaviour(trt: Any, settings: Settings) -> dict[str, Any]:
    def set_input_shape(self: Any, name: str, shape: Any) -> bool:
        for profile in self._engine._profiles:
            if name in profile:
                low, _, high = profile[name]
                if not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
                    return False
        self._shapes[name] = tuple(shape)
        return True

    def axis_sizes(self: Any) -> dict[str, int]:
        sizes = {}
        for name, shape in self._shapes.items():
            for axis, size in zip(self._engine._tensors[name][3].shape.dim, shape, strict=True):
                if axis.dim_param:
                    sizes[axis.dim_param] = size
        return sizes

    def get_tensor_shape(self: Any, name: str) -> tuple[int, ...]:
        if name in self._shapes:
            return self._shapes[name]
        sizes = axis_sizes(self)
        return tuple(axis.dim_value or sizes.get(axis.dim_param, -1) for axis in self._engine._tensors[name][3].shape.dim)

    def run(self: Any, addresses: dict[str, int]) -> bool:
        import onnxruntime

        session = onnxruntime.InferenceSession(self._engine._model.SerializeToString(), providers=["CPUExecutionProvider"])
        feeds = {}
        for value in session.get_inputs():
            dtype = np.dtype({"tensor(float)": "f4", "tensor(int64)": "i8", "tensor(float16)": "f2"}[value.type])
            shape = self._shapes.get(value.name, self._engine._tensors[value.name][1])
            data = settings.memory.read(addresses[value.name], int(np.prod(shape)) * dtype.itemsize)
            feeds[value.name] = np.frombuffer(data, dtype).reshape(shape)
        names = [output.name for output in session.get_outputs()]
        for name, computed in zip(names, session.run(names, feeds), strict=True):
            narrow = self._engine._tensors[name][2].name == "INT32"
            values = computed.astype(np.int32) if narrow else computed
            address = addresses.get(name)
            if name in self._allocators:
                allocator = self._allocators[name]
                address = allocator.reallocate_output(name, None, max(1, values.nbytes), 256)
                allocator.notify_shape(name, values.shape)
            settings.memory.write(address, values.tobytes())
        if self.profiler is not None:
            for node in self._engine._model.graph.node:
                self.profiler.report_layer_time(node.name, 0.5)
        return True

    def execute_async_v3(self: Any, stream_handle: int) -> bool:
        return run(self, self._addresses)

    def execute_async_v2(self: Any, bindings: list[int], stream_handle: int) -> bool:
        return run(self, dict(zip(self._engine._tensors, bindings, strict=True)))

    return {
        "set_input_shape": set_input_shape,
        "get_tensor_shape": get_tensor_shape,
        "set_tensor_address": lambda self, name, address: self._addresses.__setitem__(name, address) or True,
        "set_output_allocator": lambda self, name, allocator: self._allocators.__setitem__(name, allocator) or True,
        "execute_async_v3": execute_async_v3,
        "execute_async_v2": execute_async_v2,
    }
