"""What a measurement is pointed at: an ONNX file or an engine folder, opened once and fed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..core.card import ModelCard, card_from_toml
from ..core.dataset import open_dataset
from ..core.tensors import TensorSpec
from ..engines.base import BuildOptions, Tensors
from ..engines.discovery import usable_backend
from ..engines.feeds import cast_feeds
from ..engines.opening import check_folder
from ..engines.provenance import Trusted, trusted_by_user
from .measure import EngineUnderTest, first_feeds, open_engine, zeros_for
from .subject import batch_for, open_subject


@dataclass(frozen=True, slots=True)
class Target:
    """An engine with its inputs. `batch` is the model's own where it prescribes one."""

    engine: EngineUnderTest
    feeds: Tensors
    batch: int


def open_target(
    path: Path,
    *,
    backend: str | None = None,
    provider: str | None = None,
    threads: int = 1,
    batch: int = 1,
    calibration: Path | None = None,
    trusted: Trusted | None = None,
) -> Target:
    """Look at `path`; without `calibration` the inputs are zeros of the card's shapes.

    An engine folder is opened only after every check of where it comes from; `trusted` None = what this user and this device's agent built.

    Raises:
        EdgewrightError: what is wrong with the file, the folder, the runtime or the samples.
    """
    options = BuildOptions(threads=threads, batch=batch, provider=provider)
    card: ModelCard
    if path.is_dir():
        checked = check_folder(path, trusted or trusted_by_user())
        engine = EngineUnderTest(checked.manifest.backend, checked.engine, replace(checked.options, threads=threads, batch=batch))
        card = card_from_toml(path / checked.manifest.card) if checked.manifest.card else ModelCard()
    else:
        card = open_subject(path).card
        # Without a backend an ONNX file is run as it is: by ONNX Runtime.
        name, _ = usable_backend(backend or "onnxruntime")
        engine = EngineUnderTest(name, path, options)
    with open_engine(engine) as runner:
        inputs = runner.inputs
    size = batch_for(inputs, batch)
    return Target(engine, _feeds(inputs, card, calibration, size), size)


def _feeds(inputs: tuple[TensorSpec, ...], card: ModelCard, data: Path | None, batch: int) -> Tensors:
    if data is not None:
        return cast_feeds(first_feeds(open_dataset(data, card, inputs), batch), inputs)
    shapes = {key: (batch, *entry.shape_opt[1:]) for key, entry in card.inputs.items() if entry.shape_opt}
    return zeros_for(inputs, batch, shapes)
