"""Half precision as files of their own, for runtimes that take each tensor's type from the model alone; kept for the next run."""

from __future__ import annotations

from pathlib import Path

from .. import calibration as calibration_package
from ..calibration.half import write_half
from ..calibration.written import Written
from ..core.dataset import Dataset
from ..core.errors import Rejected, Unfit
from ..engines.model import digest_of_model
from .cache import digest_of_code, digest_of_tree, key_of
from .run import Progress, Run

_KIND = "halves"


def half_or_none(run: Run, model: Path, data: Dataset | None, out: Path, progress: Progress) -> Path | None:
    """`model` in half precision, in the existing, empty folder `out`; None with a note when nothing of it can be. `data` is the run's own
    calibration set, or None.
    """
    cache = run.workshop.cache
    samples = None if data is None or run.request.calibration is None else Path(run.request.calibration)
    key = "" if cache is None else key_of(digest_of_model(model), digest_of_tree(samples), digest_of_code(calibration_package))
    found = None if cache is None else cache.take_result(_KIND, key, out, Written)
    if found is None:
        try:
            found = write_half(model, data, out, threads=run.request.threads, progress=progress, cancel=run.cancel)
        except (Rejected, Unfit) as error:
            if isinstance(error, Unfit) and error.code != "model-too-large":
                raise
            run.notes.append(f"there is no half precision of {model.name}: {error.message}")
            return None
        if cache is not None:
            cache.put_result(_KIND, key, out, found)
    run.notes += found.warnings
    if found.changed == 0:
        run.notes.append(f"there is no half precision of {model.name}: every node stays in float")
        return None
    return found.path
