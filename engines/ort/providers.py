"""Execution providers and their options: CPU, CUDA, TensorRT. Pure.

Rules:
- CUDA and the CPU stand behind TensorRT, the CPU behind CUDA: nodes that the first does not know run there, and `layers` says which;
- TensorRT's plans and timings are kept in the engine's own folder, so that opening an engine builds nothing;
- option names are those of ONNX Runtime's documentation; booleans are ``True`` and ``False`` there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...core.errors import Unfit
from ..base import BuildOptions, ShapeProfile

TENSORRT = "TensorrtExecutionProvider"
CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
PREFERENCE = (TENSORRT, CUDA, CPU)
_SHORT = {"tensorrt": TENSORRT, "cuda": CUDA, "cpu": CPU}

ProviderOptions = dict[str, str]


def wanted_providers(options: BuildOptions, available: Sequence[str], *, has_gpu: bool) -> list[str]:
    """The asked provider (by its full or short name, ``cuda``) and what stands behind it; else the best that this machine can use first.

    Raises:
        Unfit: ``provider-unusable``.
    """
    if options.provider is None:
        return [name for name in PREFERENCE if name in available and (has_gpu or name == CPU)] or list(available)
    wanted = _SHORT.get(options.provider.lower(), options.provider)
    if wanted not in available:
        has = ", ".join(available)
        raise Unfit("provider-unusable", f"this ONNX Runtime has no {options.provider}", f"It has {has}; install another package of it")
    behind = PREFERENCE[PREFERENCE.index(wanted) + 1 :] if wanted in PREFERENCE else (CPU,)
    return [wanted, *(name for name in behind if name in available)]


def unsupported(options: BuildOptions, provider: str) -> str | None:
    """The first of `options` that `provider` would pass over, by its name on the command line; None when it knows them all."""
    nowhere = {
        "--refittable": options.is_refittable,
        "--stripped": options.is_stripped,
        "--compatibility version": options.compatibility == "version",
        "compute_capability": options.compute_capability is not None,
    }
    by_tensorrt = {
        "--dla-core": options.dla_core is not None,
        "--sparse": options.is_sparse,
        "--optimization-level": options.optimization_level is not None,
        "--compatibility hardware": options.compatibility == "hardware",
        "--calibration-cache": options.calibration_cache is not None,
    }
    by_gpus = {"--workspace-mb": options.workspace_mb is not None}
    asked = nowhere | ({} if provider == TENSORRT else by_tensorrt) | ({} if provider in {TENSORRT, CUDA} else by_gpus)
    return next((name for name, is_asked in asked.items() if is_asked), None)


def with_options(providers: Sequence[str], options: BuildOptions, folder: Path) -> list[tuple[str, ProviderOptions]]:
    """Each provider with its options; `folder` is the engine's."""
    return [(name, _options_of(name, options, folder)) for name in providers]


def _options_of(name: str, options: BuildOptions, folder: Path) -> ProviderOptions:
    if name == TENSORRT:
        return tensorrt_options(options, folder)
    return cuda_options(options) if name == CUDA else {}


def cuda_options(options: BuildOptions) -> ProviderOptions:
    """An exhaustive search for convolutions costs the first inference, and pays in every later one."""
    found = {
        "device_id": str(options.device_id),
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "do_copy_in_default_stream": "1",
        "arena_extend_strategy": "kSameAsRequested",
    }
    if options.workspace_mb is not None:
        found["gpu_mem_limit"] = str(options.workspace_mb << 20)
    return found


def tensorrt_options(options: BuildOptions, folder: Path) -> ProviderOptions:
    """Caches in `folder`; precision by flags where the model does not carry it."""
    found = {
        "device_id": str(options.device_id),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(options.timing_cache.parent if options.timing_cache is not None else folder),
        "trt_fp16_enable": _flag(options.precision in {"fp16", "mixed", "int8"}),
        "trt_int8_enable": _flag(options.precision in {"int8", "mixed"}),
    }
    if options.calibration_cache is not None:
        found["trt_int8_calibration_table_name"] = options.calibration_cache.name
        found["trt_int8_use_native_calibration_table"] = "True"
    if options.workspace_mb is not None:
        found["trt_max_workspace_size"] = str(options.workspace_mb << 20)
    if options.optimization_level is not None:
        found["trt_builder_optimization_level"] = str(options.optimization_level)
    if options.dla_core is not None:
        found |= {"trt_dla_enable": "True", "trt_dla_core": str(options.dla_core)}
    if options.is_sparse:
        found["trt_sparsity_enable"] = "True"
    if options.compatibility == "hardware":
        found["trt_engine_hw_compatible"] = "True"
    return found | _profile_options(options.profiles)


def _profile_options(profiles: Mapping[str, ShapeProfile]) -> ProviderOptions:
    if not profiles:
        return {}

    def words(shapes: Mapping[str, tuple[int, ...]]) -> str:
        return ",".join(f"{name}:{'x'.join(str(axis) for axis in shape)}" for name, shape in shapes.items())

    return {
        "trt_profile_min_shapes": words({name: profile.minimum for name, profile in profiles.items()}),
        "trt_profile_opt_shapes": words({name: profile.optimum for name, profile in profiles.items()}),
        "trt_profile_max_shapes": words({name: profile.maximum for name, profile in profiles.items()}),
    }


def _flag(value: bool) -> str:
    return "True" if value else "False"
