"""Exact rewrites of a file that is about to become an engine: each stays when this device runs it faster, measured in turns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx

from ..calibration.rewriting import load_rewrite, rewrite_names
from ..compression.codec.container import serialized
from ..core.files import write_atomic
from ..core.measurement import Latency
from .compress import race

# Less is within what two runs of the same file differ by.
MIN_GAIN = 0.005
Cancel = Callable[[], bool]


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
