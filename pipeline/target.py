"""What a measurement is pointed at: an ONNX file or an engine folder, opened once and fed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..core.card import ModelCard, card_from_toml
from ..core.dataset import open_dataset
from ..engines.base import BuildOptions, Tensors
from ..engines.discovery import usable_backend
from ..engines.manifest import verify_manifest
from .measure import EngineUnderTest, first_feeds, open_engine, zeros_for
from .subject import batch_for, open_subject


@dataclass(frozen=True, slots=True)
class Target:
    """An engine with its inputs. `batch` is the model's own where it prescribes one."""

    engine: EngineUnderTest
    feeds: Tensors
    batch: int


def open_target(path: Path, *, backend: str | None = None, threads: int = 1, batch: int = 1, calibration: Path | None = None) -> Target:
    """Look at `path`; without `calibration` the inputs are zeros of the card's shapes.

    Raises:
        EdgewrightError: what is wrong with the file, the folder, the runtime or the samples.
    """
    options = BuildOptions(threads=threads, batch=batch)
    if path.is_dir():
        manifest = verify_manifest(path)
        name, _ = usable_backend(backend or manifest.backend)
        engine = EngineUnderTest(name, path / manifest.engine, options)
        card = card_from_toml(path / manifest.card) if manifest.card else ModelCard()
    else:
        card = open_subject(path).card
        # Without a backend an ONNX file is run as it is: by ONNX Runtime.
        name, _ = usable_backend(backend or "onnxruntime")
        engine = EngineUnderTest(name, path, options)
    with open_engine(engine) as runner:
        inputs = runner.inputs
    size = batch_for(inputs, batch)
    if calibration is not None:
        return Target(engine, first_feeds(open_dataset(calibration, card, inputs), size), size)
    shapes = {key: (size, *entry.shape_opt[1:]) for key, entry in card.inputs.items() if entry.shape_opt}
    return Target(engine, zeros_for(inputs, size, shapes), size)
