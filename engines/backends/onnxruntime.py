"""ONNX Runtime: runs the ``.onnx`` itself; "building" is loading it once on the provider that was asked for.

Rules:
- the provider that really runs is asked of the session, never assumed: one that was asked for and fell back is an error;
- the default provider is the best one that loads here, in the order TensorRT, CUDA, CPU;
- its telemetry is off: this program talks to its owner's broker and to nobody else.

With TensorRT as its provider, loading builds TensorRT's plans into the engine's folder, from where they are opened later.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core.errors import Rejected, Unfit
from ..base import BuildOptions, Capabilities, EngineFile, LayerTime, Precision, Progress, Runner, Tensors
from ..cuda import cuda_status
from ..model import copy_model, input_specs, is_half, is_quantized, read_model
from ..ort.layers import time_layers
from ..ort.library import onnxruntime_library
from ..ort.providers import CPU, TENSORRT, ProviderOptions, unsupported, wanted_providers, with_options
from ..ort.runner import open_runner
from ..shapes import profiles_for

ENGINE_NAME = "model.onnx"
CALIBRATION_NAME = "calibration.cache"


class OnnxRuntimeBackend:
    """The `Backend` of ONNX Runtime."""

    def unavailable(self) -> str | None:
        try:
            onnxruntime = onnxruntime_library()
        except ImportError as error:
            return f"onnxruntime cannot be imported ({error}): pip install onnxruntime"
        return None if onnxruntime.get_available_providers() else "this onnxruntime has no execution provider: install it again"

    def capabilities(self) -> Capabilities:
        import platform

        onnxruntime = onnxruntime_library()
        device = cuda_status().device
        best = wanted_providers(BuildOptions(), onnxruntime.get_available_providers(), has_gpu=device is not None)[0]
        if best == CPU or device is None:
            return Capabilities(onnxruntime.__version__, best, ("fp32", "int8"), f"onnxruntime-{platform.machine()}")
        dialect = "tensorrt" if best == TENSORRT else f"onnxruntime-{platform.machine()}"
        precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8") if best == TENSORRT else ("fp32", "int8")
        return Capabilities(onnxruntime.__version__, best, precisions, dialect, hardware=device.words, driver=device.driver)

    def build(self, model: Path, folder: Path, options: BuildOptions, progress: Progress) -> EngineFile:
        onnxruntime = onnxruntime_library()
        progress(0.0, "checking the model")
        proto = read_model(model, with_weights=False)
        _check_options(options, self._wanted(options)[0], proto)
        engine = folder / ENGINE_NAME
        copy_model(model, proto, engine)
        if options.calibration_cache is not None:
            shutil.copyfile(options.calibration_cache, folder / CALIBRATION_NAME)
        progress(0.3, "loading it")
        with self.open(engine, options) as runner:
            provider = runner.provider
            if provider == TENSORRT:
                # Plans are built by the first inference of each shape: that is now, and not in the application.
                shapes = {name: profile.optimum for name, profile in profiles_for(input_specs(proto), options.profiles, options.batch).items()}
                runner.bind(shapes).run()
        progress(1.0, "built")
        size_bytes = sum(path.stat().st_size for path in folder.iterdir())
        return EngineFile(engine, "onnxruntime", onnxruntime.__version__, provider, size_bytes)

    def open(self, engine: Path, options: BuildOptions) -> Runner:
        if not engine.is_file():
            raise Unfit("engine-unusable", f"there is no engine at {engine.name}", "Build it again")
        providers = self._providers(engine, options)
        runner = open_runner(str(engine), engine.name, threads=options.threads, providers=providers)
        if options.provider is not None and runner.provider != providers[0][0]:
            fallback = runner.provider
            runner.close()
            message = f"{providers[0][0]} was asked for, but ONNX Runtime fell back to {fallback}"
            raise Unfit("provider-unusable", message, "Install the libraries of that provider, or ask for the CPU")
        return runner

    def layers(self, engine: Path, options: BuildOptions, feeds: Tensors, runs: int) -> tuple[LayerTime, ...]:
        return time_layers(engine, feeds, runs, threads=options.threads, providers=self._providers(engine, options))

    def _wanted(self, options: BuildOptions) -> list[str]:
        has_gpu = cuda_status(options.device_id).device is not None
        return wanted_providers(options, onnxruntime_library().get_available_providers(), has_gpu=has_gpu)

    def _providers(self, engine: Path, options: BuildOptions) -> list[tuple[str, ProviderOptions]]:
        kept = engine.with_name(CALIBRATION_NAME)
        return with_options(self._wanted(options), replace(options, calibration_cache=kept if kept.is_file() else None), engine.parent)


def _check_options(options: BuildOptions, provider: str, model: Any) -> None:
    """An engine must not be called what it is not: options that the provider would pass over are refused."""
    if (refused := unsupported(options, provider)) is not None:
        raise Rejected("option-unsupported", f"ONNX Runtime's {provider} has no option {refused}", "Leave that option out, or choose another backend")
    has_all = (is_quantized(model) or options.precision == "fp16") and (is_half(model) or options.precision == "int8")
    if provider != TENSORRT and options.precision != "fp32" and not has_all:
        message = f"ONNX Runtime's {provider} takes precision from the model's own types, and the model is not {options.precision}"
        raise Rejected("precision-missing", message, "edgewright calibrate writes such a model")


BACKEND = OnnxRuntimeBackend()
