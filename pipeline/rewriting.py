"""Exact rewrites of a file that is about to become an engine: each stays when this device runs it faster, measured in turns.

What was measured once is kept for the next run: the same file on the same device is not raced again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import onnx

from .. import calibration as calibration_package
from ..calibration.rewriting import load_rewrite, rewrite_names
from ..compression.codec.container import serialized
from ..core.files import write_atomic
from ..core.measurement import Latency
from ..engines.model import digest_of_model
from .build import unfinished
from .cache import digest_of_code, key_of
from .compress import race
from .ladder import FALLBACK
from .place import place_of
from .run import Run

# Less is within what two runs of the same file differ by.
MIN_GAIN = 0.005
_KIND = "rewrites"
_NAME = "rewritten.onnx"
Cancel = Callable[[], bool]


class _Rewritten(msgspec.Struct, frozen=True):
    """What each rewrite gained; without any there is no file."""

    notes: tuple[str, ...]


def rewrite_here(run: Run, model: Path, target: Path) -> tuple[str, ...]:
    """What `write_rewritten` makes of `model` for ONNX Runtime on this device, made now or in an earlier run."""
    cache, threads = run.workshop.cache, run.request.threads
    if cache is None:
        return write_rewritten(model, target, threads=threads, cancel=run.cancel)
    key = key_of(digest_of_model(model), place_of(FALLBACK, threads), MIN_GAIN, digest_of_code(calibration_package))
    with unfinished(run.out, "rewritten") as work:
        found = cache.take_result(_KIND, key, work, _Rewritten)
        if found is None:
            found = _Rewritten(write_rewritten(model, work / _NAME, threads=threads, cancel=run.cancel))
            cache.put_result(_KIND, key, work, found)
        if found.notes:
            shutil.move(work / _NAME, target)
    return found.notes


def write_rewritten(model: Path, target: Path, *, threads: int, cancel: Cancel) -> tuple[str, ...]:
    """Write `model` after every rewrite that makes it faster here to `target`; returns what each gained. Nothing is written when none did."""
    best, notes = onnx.load(str(model)), []
    for name in rewrite_names():
        rewrite = load_rewrite(name)
        made = rewrite.apply(best)
        if made is None:
            continue
        before, after = (_middle(latency) for latency in race(best, made, threads, cancel))
        if after < before * (1 - MIN_GAIN):
            best = made
            notes.append(f"{rewrite.words}: {after / before:.3f} of the time")
    if notes:
        write_atomic(target, serialized(best))
    return tuple(notes)


def _middle(latency: Latency) -> float:
    return latency.p50 if latency.p50 is not None else latency.mean
