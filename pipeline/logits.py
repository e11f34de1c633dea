"""Engines for a fidelity measurement: each ONNX file with its twin without the final Softmax, in a folder that goes away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ..engines.softmax import write_logits_model
from .build import unfinished
from .measure import EngineUnderTest
from .subject import Subject


@contextmanager
def with_logits(subject: Subject, engines: Mapping[str, EngineUnderTest], folder: Path) -> Iterator[dict[str, EngineUnderTest]]:
    """`engines` with their `logits` where they can be had; what is written for that lies in `folder` until the end.

    They run on all cores: nothing is timed.
    """
    with unfinished(folder, "logits") as work:
        yield {
            name: replace(entry, options=replace(entry.options, threads=0), logits=_twin(subject, entry, work / f"{name}.onnx"))
            for name, entry in engines.items()
        }


def _twin(subject: Subject, entry: EngineUnderTest, target: Path) -> Path | None:
    return write_logits_model(entry.engine, target) if subject.softmax and entry.engine.suffix == ".onnx" else None
