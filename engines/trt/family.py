"""What the two backends of the family share: usable or not, capabilities, build, open. A backend file only says which module."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...core.errors import EdgewrightError
from ..base import BuildOptions, Capabilities, EngineFile, LayerTime, Precision, Progress, Runner, Tensors
from ..cuda import cuda_status
from .binding import Binding, Name, load_binding
from .build import build_plan
from .device import load_pycuda
from .loading import refit_plan
from .log import make_logger
from .network import new_builder
from .runner import open_plan


@dataclass(frozen=True, slots=True)
class TensorRtFamily:
    """A `Backend` of the module `name`."""

    name: Name

    def unavailable(self) -> str | None:
        """Asks from the outside in: driver and device, bindings, a builder that starts, pycuda."""
        try:
            binding = load_binding(self.name)
            if (reason := cuda_status().reason) and cuda_status().device is None:
                return f"{self.name} {binding.version} is installed, but {reason}"
            new_builder(binding, make_logger(binding.trt))
            load_pycuda()
        except EdgewrightError as error:
            return f"{error.message}: {error.next_step}"
        return None

    def capabilities(self) -> Capabilities:
        binding, device = load_binding(self.name), cuda_status().device
        return Capabilities(
            version=binding.version,
            device=device.name if device is not None else "",
            precisions=self._precisions(binding),
            dialect="tensorrt",
            is_plan_portable=False,
            hardware=device.words if device is not None else "",
            driver=device.driver if device is not None else "",
            is_strongly_typed=not binding.has_flags,
            takes_types=binding.has_strong_typing,
        )

    def _precisions(self, binding: Binding) -> tuple[Precision, ...]:
        """What the hardware gains from, where the builder still tells; else what the model's types may say."""
        if not binding.has_flags:
            return ("fp32", "fp16", "int8", "mixed")
        builder = new_builder(binding, make_logger(binding.trt))
        found: list[Precision] = ["fp32"]
        if builder.platform_has_fast_fp16:
            found.append("fp16")
        if builder.platform_has_fast_int8:
            found.append("int8")
        return (*found, "mixed") if len(found) == 3 else tuple(found)

    def build(self, model: Path, folder: Path, options: BuildOptions, progress: Progress) -> EngineFile:
        return build_plan(load_binding(self.name), model, folder, options, progress)

    def refit(self, engine: Path, model: Path, target: Path, options: BuildOptions) -> None:
        """Write the plan `engine` with the weights of `model` to `target`.

        Raises:
            Rejected: ``option-unsupported`` or ``refit-refused``.
            Unfit: as `open`.
        """
        refit_plan(load_binding(self.name), engine, model, target, options)

    def open(self, engine: Path, options: BuildOptions) -> Runner:
        return open_plan(load_binding(self.name), engine, options)

    def layers(self, engine: Path, options: BuildOptions, feeds: Tensors, runs: int) -> tuple[LayerTime, ...]:
        with open_plan(load_binding(self.name), engine, options) as runner:
            return runner.layers(feeds, runs)
