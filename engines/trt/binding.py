"""The imported module of the TensorRT family, and what it has. Features are found by looking, never by version numbers:

| | 8.6 | 10.3 (JetPack 6) | 10.13+ (JetPack 7) | 11, RTX |
|---|---|---|---|---|
| precision | flags, calibrator | the same, and strong typing where the model says its types | same | strong typing only |
| progress and cancel | log only | `IProgressMonitor` | same | same |
| refit from ONNX, stripped plans | – | yes | yes | yes |

Enumerations lie (every release has ``DeviceType.DLA``): whether there is a DLA is asked of the builder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ...core.errors import Unfit

Name = Literal["tensorrt", "tensorrt_rtx"]
_MODULES: dict[Name, tuple[str, ...]] = {"tensorrt": ("tensorrt", "tensorrt_bindings"), "tensorrt_rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}
_ADVICE: dict[Name, str] = {
    "tensorrt": "on Jetson: sudo apt install nvidia-jetpack, and a virtual environment with --system-site-packages; docs/engines.md",
    "tensorrt_rtx": "pip install tensorrt-rtx-cu12-bindings tensorrt-rtx-cu12-libs, or the -cu13- ones; docs/engines.md",
}


@dataclass(frozen=True, slots=True)
class Binding:
    """The module and what it can do. `has_flags` = precision by builder flags and implicit INT8; without it networks are strongly typed."""

    trt: Any
    name: Name
    version: str
    has_flags: bool
    has_progress_monitor: bool
    has_profile_shapes_by_name: bool
    has_refit: bool
    has_compute_capabilities: bool
    has_explicit_batch_flag: bool
    has_strong_typing: bool

    def flag(self, name: str) -> Any | None:
        """The builder flag `name`, None where this release has none."""
        return getattr(self.trt.BuilderFlag, name, None)


def load_binding(name: Name) -> Binding:
    """Import the module.

    Raises:
        Unfit: ``backend-unavailable`` with what is missing.
    """
    import importlib

    reasons = []
    for module_name in _MODULES[name]:
        try:
            return inspect_module(importlib.import_module(module_name), name)
        except ModuleNotFoundError as error:
            reasons.append(str(error))
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            # The bindings are there and their libraries are not, or do not fit.
            raise Unfit("backend-unavailable", f"{module_name} does not load: {error}", _ADVICE[name]) from error
    raise Unfit("backend-unavailable", f"{name} is not installed ({reasons[0]})", _ADVICE[name])


def inspect_module(trt: Any, name: Name) -> Binding:
    """What the module `trt` can do.

    Raises:
        AttributeError: it is no TensorRT.
    """
    config, flags, creation = trt.IBuilderConfig, trt.BuilderFlag, trt.NetworkDefinitionCreationFlag
    return Binding(
        trt=trt,
        name=name,
        version=str(trt.__version__),
        # TensorRT-RTX 1.4 still names the flags, and refuses them when it builds: the calibrator tells.
        has_flags=hasattr(config, "int8_calibrator") and hasattr(flags, "INT8"),
        has_progress_monitor=hasattr(trt, "IProgressMonitor") and hasattr(config, "progress_monitor"),
        has_profile_shapes_by_name=hasattr(trt.ICudaEngine, "get_tensor_profile_shape"),
        has_refit=hasattr(trt, "OnnxParserRefitter") and hasattr(flags, "STRIP_PLAN"),
        has_compute_capabilities=hasattr(config, "set_compute_capability") and hasattr(trt, "ComputeCapability"),
        has_explicit_batch_flag=hasattr(creation, "EXPLICIT_BATCH"),
        has_strong_typing=hasattr(creation, "STRONGLY_TYPED"),
    )
