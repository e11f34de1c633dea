"""The files that one model is built from: as it came, quantised in the dialects of the runtimes, in half precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..calibration.calibrate import Calibration
from ..core.dataset import Dataset
from ..engines.base import Capabilities
from .calibrating import calibration_or_none
from .halving import half_or_none
from .ladder import Source
from .run import Progress, Run
from .subject import Subject


@dataclass(frozen=True, slots=True)
class Sources:
    """What there is; `half` is the model in half precision, `mixed` its Q/DQ form with what is not quantised in half precision."""

    model: Path
    calibration: Calibration | None = None
    half: Path | None = None
    mixed: Path | None = None

    def files(self) -> dict[Source, Path]:
        calibration = self.calibration
        found: dict[Source, Path | None] = {"model": self.model, "tensorrt-fp16": self.half, "tensorrt-mixed": self.mixed}
        if calibration is not None:
            found |= {
                "onnxruntime-qdq": calibration.onnxruntime,
                "tensorrt-qdq": calibration.tensorrt,
                "calibration-cache": calibration.tensorrt_cache,
            }
        return {name: path for name, path in found.items() if path is not None}


def write_sources(
    run: Run,
    subject: Subject,
    data: Dataset | None,
    work: Path,
    capabilities: Capabilities,
    progress: Progress,
    *,
    quantizes: bool,
    floats: tuple[str, ...] | None = None,
) -> Sources:
    """Write everything that the rungs of a device with `capabilities` need, below the existing, empty folder `work`.

    `floats` are the layers that are not quantised; None = the calibration decides.
    """
    needs_files = capabilities.takes_types and "fp16" in capabilities.precisions
    for name in ("int8", "fp16", "mixed"):
        (work / name).mkdir()
    end = 0.7 if needs_files else 1.0
    calibration = calibration_or_none(run, subject, data, work / "int8", _part(progress, 0.0, end), floats) if quantizes else None
    if not needs_files:
        return Sources(subject.path, calibration)
    half = half_or_none(run, subject.path, data, work / "fp16", _part(progress, 0.7, 0.85))
    mixed = None
    if calibration is not None and calibration.tensorrt is not None and (half is not None or not capabilities.is_strongly_typed):
        mixed = half_or_none(run, calibration.tensorrt, data, work / "mixed", _part(progress, 0.85, 1.0))
    return Sources(subject.path, calibration, half, mixed)


def _part(progress: Progress, start: float, stop: float) -> Progress:
    return lambda share, note: progress(start + (stop - start) * share, note)
