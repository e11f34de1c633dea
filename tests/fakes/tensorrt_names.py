"""Prints, as JSON, which names a real module of the TensorRT family has: ``python tensorrt_names.py MODULE [LIBRARY...]``.

LIBRARY are stub libraries to load first, where TensorRT itself is not installed. The tables in ``tensorrt_api.json`` are this program's output.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import sys

CLASSES = (
    "Builder", "IBuilderConfig", "INetworkDefinition", "ITensor", "OnnxParser", "ParserError", "ICudaEngine", "IExecutionContext", "Runtime",
    "IOptimizationProfile", "ITimingCache", "IHostMemory", "IProgressMonitor", "IInt8EntropyCalibrator2", "IInt8MinMaxCalibrator",
    "IOutputAllocator", "IProfiler", "ILogger", "Logger", "Refitter", "OnnxParserRefitter", "ISerializationConfig",
)  # fmt: skip
ENUMS = (
    "BuilderFlag", "NetworkDefinitionCreationFlag", "MemoryPoolType", "ProfilingVerbosity", "HardwareCompatibilityLevel", "DeviceType",
    "DataType", "TensorIOMode", "ErrorCode", "ComputeCapability", "SerializationFlag",
)  # fmt: skip


def names_of(module: object) -> dict[str, object]:
    def public(owner: object) -> list[str]:
        return sorted(name for name in dir(owner) if not name.startswith("_"))

    def members(enum: object) -> list[str]:
        found = getattr(enum, "__members__", None)
        return list(found) if found is not None else []

    return {
        "version": module.__version__,
        "classes": {name: public(getattr(module, name)) for name in CLASSES if hasattr(module, name)},
        "enums": {name: members(getattr(module, name)) for name in ENUMS if hasattr(module, name)},
    }


if __name__ == "__main__":
    for library in sys.argv[2:]:
        ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    sys.stdout.write(json.dumps(names_of(importlib.import_module(sys.argv[1]))) + "\n")
