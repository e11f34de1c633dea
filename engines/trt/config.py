"""The builder's configuration for one build: what was asked for, by whatever name this release has for it, or a reason why not."""

from __future__ import annotations

from typing import Any

from ...core.errors import Rejected, Unfit
from ..base import BuildOptions
from ..shapes import profiles_for
from .binding import Binding
from .network import Network


def new_config(binding: Binding, network: Network, options: BuildOptions) -> Any:
    """An ``IBuilderConfig`` for `options`, without calibrator, timing cache and progress.

    Raises:
        Rejected: ``profile-missing``, ``profile-mismatch`` or ``option-unsupported``: this release has no such option.
        Unfit: ``dla-unavailable``.
    """
    config = network.builder.create_builder_config()
    if options.workspace_mb is not None:
        config.set_memory_pool_limit(binding.trt.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    # Layer names are what profiles of layers are told in.
    config.profiling_verbosity = binding.trt.ProfilingVerbosity.DETAILED
    for name in flag_names(options, is_typed=network.is_typed):
        flag = binding.flag(name)
        if flag is None:
            raise Rejected("option-unsupported", f"{binding.name} {binding.version} has no builder flag {name}", "Leave that option out")
        config.set_flag(flag)
    if options.compatibility == "hardware":
        config.hardware_compatibility_level = binding.trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if options.dla_core is not None:
        _use_dla(binding, network, config, options.dla_core)
    if options.compute_capability is not None:
        _build_for(binding, config, options.compute_capability)
    _add_profile(network, config, options)
    return config


def flag_names(options: BuildOptions, *, is_typed: bool) -> list[str]:
    """The builder flags that `options` mean. In a strongly typed network the model's own types decide, and TensorRT refuses precision flags."""
    names = []
    if not is_typed:
        if options.precision in {"fp16", "mixed"} or (options.dla_core is not None and options.precision == "fp32"):
            # A DLA computes in FP16 or INT8 only.
            names.append("FP16")
        if options.precision in {"int8", "mixed"}:
            names.append("INT8")
    if options.dla_core is not None:
        names.append("GPU_FALLBACK")
    wanted = {
        "SPARSE_WEIGHTS": options.is_sparse,
        "REFIT": options.is_refittable,
        "STRIP_PLAN": options.is_stripped,
        # A plan without weights takes those that it was built from, unless it may take any.
        "REFIT_IDENTICAL": options.is_stripped and not options.is_refittable,
        "VERSION_COMPATIBLE": options.compatibility == "version",
    }
    return [*names, *(name for name, is_wanted in wanted.items() if is_wanted)]


def _use_dla(binding: Binding, network: Network, config: Any, core: int) -> None:
    cores = int(network.builder.num_DLA_cores)
    if core >= cores:
        message = f"this device has {cores} DLA cores for {binding.name} {binding.version}, and core {core} was asked for"
        raise Unfit("dla-unavailable", message, "Leave dla_core out; TensorRT 10.8 to 11.3 have no DLA")
    config.default_device_type = binding.trt.DeviceType.DLA
    config.DLA_core = core


def _build_for(binding: Binding, config: Any, capability: str) -> None:
    """Hardware that is not here, where the release can (TensorRT-RTX): ``8.9`` → ``SM89``."""
    name = f"SM{capability.replace('.', '')}"
    known = [] if not binding.has_compute_capabilities else [item for item in dir(binding.trt.ComputeCapability) if item.startswith("SM")]
    if name not in known:
        has = f"it has {', '.join(known)}" if known else "it builds for the GPU that is here"
        raise Rejected(
            "option-unsupported", f"{binding.name} {binding.version} cannot build for compute capability {capability}: {has}", "Choose another"
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(binding.trt.ComputeCapability, name), 0)


def _add_profile(network: Network, config: Any, options: BuildOptions) -> None:
    profiles = profiles_for(network.inputs, options.profiles, options.batch)
    if not profiles:
        return
    profile = network.builder.create_optimization_profile()
    for name, shapes in profiles.items():
        profile.set_shape(name, shapes.minimum, shapes.optimum, shapes.maximum)
    if config.add_optimization_profile(profile) < 0:
        raise Rejected("profile-mismatch", "TensorRT refuses the model's optimisation profile", "Correct the shapes in the model card")
    if options.precision in {"int8", "mixed"} and not network.is_typed:
        config.set_calibration_profile(profile)
