"""A model as it came: ONNX as it is, or coded (``.ewz``) and decoded before anything else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..compression.codec.container import SUFFIX, write_decoded
from .build import unfinished


@contextmanager
def runnable_model(model: Path, folder: Path) -> Iterator[Path]:
    """The path of a runnable ONNX file: `model` itself, or what it decodes to, with its card beside it, in `folder` until the end.

    Raises:
        Rejected: ``codec-malformed`` or ``model-missing``.
    """
    if model.suffix != SUFFIX:
        yield model
        return
    with unfinished(folder, "decoded") as work:
        target = work / f"{model.stem}.onnx"
        write_decoded(model, target)
        card = model.with_suffix(".toml")
        if card.is_file():
            shutil.copyfile(card, target.with_suffix(".toml"))
        yield target
