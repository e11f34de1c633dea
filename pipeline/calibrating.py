"""The calibration stage, kept for the next run: the same model, card, data and options give the same ranges."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from .. import calibration as calibration_package
from ..calibration.calibrate import Calibration, CalibrationOptions, calibrate
from ..calibration.ranges import MethodName
from ..core.dataset import Dataset
from ..core.digest import digest_of_file
from ..core.errors import Rejected
from .cache import StageCache, decode_paths, digest_of_code, digest_of_tree, encode_paths, key_of
from .request import OptimizeRequest
from .run import Run
from .subject import Subject

Progress = Callable[[float, str], None]
Cancel = Callable[[], bool]
_KIND = "calibrations"
_RESULT_NAME = "calibration.json"


def calibration_or_none(
    run: Run, subject: Subject, data: Dataset | None, work: Path, progress: Progress, floats: tuple[str, ...] | None = None
) -> Calibration | None:
    """The quantised files of `subject` in `work`, or None with a note when it has nothing to quantise. `floats`: see `CalibrationOptions`."""
    assert data is not None
    try:
        found = run_calibration(run.request, subject, data, work, progress, run.cancel, run.workshop.cache, floats)
    except Rejected as error:
        if error.code != "nothing-to-quantise":
            raise
        run.notes.append(error.message)
        return None
    run.notes += [*found.warnings, *(f"{entry.node} ({entry.op}) stays in float: {entry.reason}" for entry in found.skipped)]
    return found


def run_calibration(
    request: OptimizeRequest,
    subject: Subject,
    data: Dataset,
    out: Path,
    progress: Progress,
    cancel: Cancel,
    cache: StageCache | None = None,
    floats: tuple[str, ...] | None = None,
) -> Calibration:
    """Calibrate into the existing, empty folder `out`, or copy there what an earlier run has found."""
    method: MethodName = request.method  # type: ignore[assignment] # an unknown name is refused by calibrate itself
    is_auto = request.recipe == "auto" and request.recipe_file is None
    options = CalibrationOptions(
        method=method,
        min_sqnr_db=request.budget.min_sqnr_db if is_auto else None,
        is_for_speed=is_auto,
        floats=floats,
        repair=request.repair and not request.quick,
    )
    key = "" if cache is None else _key(request, subject, options)
    if cache is not None and (found := _take(cache, key, out)) is not None:
        progress(1.0, "calibrated before")
        return found
    calibration = calibrate(subject.path, data, out, options, progress=progress, cancel=cancel)
    if cache is not None:
        (out / _RESULT_NAME).write_bytes(encode_paths(out, calibration))
        cache.put(_KIND, key, out)
    return calibration


def _key(request: OptimizeRequest, subject: Subject, options: CalibrationOptions) -> str:
    data = None if request.calibration is None else Path(request.calibration)
    card = subject.path.with_suffix(".toml")
    return key_of(
        digest_of_file(subject.path),
        digest_of_tree(card if card.is_file() else None),
        digest_of_tree(data),
        options,
        digest_of_code(calibration_package),
    )


def _take(cache: StageCache, key: str, out: Path) -> Calibration | None:
    if not cache.take_folder(_KIND, key, out):
        return None
    try:
        found = decode_paths(out, (out / _RESULT_NAME).read_bytes(), Calibration)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        _empty(out)
        return None
    named = (found.onnxruntime, found.table, *(path for path in (found.tensorrt, found.tensorrt_cache) if path is not None))
    if all(path.is_file() for path in named):
        return found
    _empty(out)
    return None


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
