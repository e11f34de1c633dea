"""Datasets: calibration or evaluation inputs, streamed in batches and never loaded whole (DESIGN §5).

Three kinds behind one reader: a folder of images, an ``.npz`` (or a folder with exactly one), a folder of ``.npy`` files. A folder may
hold its pictures and ``labels.csv`` side by side, without ``images/``: that is how a deployment carries them. Rules:
- nothing is unpickled; header sizes, element counts and uncompressed sizes are bounded before they are read;
- names, shapes, types and counts are checked when the dataset is opened; what only the values show (NaN, overflow) when a batch is read;
- every error names the file, the tensor or the sample, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .arrays import ArrayFile, open_npy, open_npz
from .card import ModelCard
from .errors import Rejected
from .images import SUFFIXES
from .labels import Labels, labels_from_array, labels_from_csv
from .nearest import nearest_hint
from .sources import ArraySource, PictureSource, Source, numpy_type
from .tensors import TensorSpec

Array = npt.NDArray[Any]
_KINDS = "Give a folder with images/, an .npz, or a folder with one INPUT.npy per input"


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples `start` … `start` + size: one array per input, first axis = samples, dtype as the model wants it."""

    start: int
    feeds: dict[str, Array]
    labels: Labels | None

    @property
    def size(self) -> int:
        return len(next(iter(self.feeds.values())))


@dataclass(frozen=True, slots=True)
class Dataset:
    """An opened dataset. `labels` is None where there are none."""

    kind: Literal["images", "npz", "npy"]
    name: str
    samples: int
    labels: Labels | None
    sources: Mapping[str, Source]

    def batches(self, size: int, *, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
        """Samples `start` … `stop` in order, in batches of `size` (the last may be smaller); memory is one batch.

        Iterations are independent of each other; each closes its files when it ends or is dropped.

        Raises:
            Rejected: ``dataset-not-finite``, ``dataset-wrong-type``, ``dataset-unreadable``, ``image-unreadable``, ``image-too-large``.
        """
        if size < 1 or start < 0:
            raise ValueError(f"batches of {size} from {start}")
        end = self.samples if stop is None else min(stop, self.samples)
        with ExitStack() as stack:
            readers = {name: stack.enter_context(source.reader()) for name, source in self.sources.items()}
            for first in range(start, end, size):
                last = min(first + size, end)
                feeds = {name: read(first, last) for name, read in readers.items()}
                for name, values in feeds.items():
                    _check_finite(name, values, first)
                yield Batch(first, feeds, None if self.labels is None else self.labels[first:last])


def open_dataset(path: Path, card: ModelCard, inputs: Sequence[TensorSpec]) -> Dataset:
    """Open the dataset at `path` for a model with these `inputs`.

    Raises:
        Rejected: ``dataset-missing``, ``dataset-unreadable``, ``dataset-empty``, ``dataset-wrong-names``, ``dataset-wrong-shape``,
            ``dataset-wrong-type``, ``dataset-wrong-count``, ``dataset-wrong-labels``.
    """
    for spec in inputs:
        numpy_type(spec)
    try:
        if path.is_file():
            return _npz_dataset(path, card, inputs)
        if not path.is_dir():
            raise Rejected("dataset-missing", f"there is no dataset at {path}", _KINDS)
        files = sorted(file for file in path.iterdir() if not file.name.startswith("."))
        return _folder_dataset(path, files, card, inputs)
    except OSError as error:
        raise Rejected("dataset-unreadable", f"{path} cannot be read: {error.strerror}", "Give a dataset that this user may read") from error


def _folder_dataset(path: Path, files: Sequence[Path], card: ModelCard, inputs: Sequence[TensorSpec]) -> Dataset:
    npz = [file for file in files if file.suffix == ".npz"]
    npy = {file.stem: file for file in files if file.suffix == ".npy"}
    if npy:
        wanted = {spec.name for spec in inputs} | {"labels"}
        opened = {name: open_npy(file) for name, file in npy.items() if name in wanted}
        return _array_dataset("npy", path.name, opened, npy, card, inputs)
    if len(npz) > 1:
        names = ", ".join(file.name for file in npz[:4])
        raise Rejected("dataset-wrong-count", f"{path.name} holds {len(npz)} .npz files: {names}", "Give the path of one of them")
    if npz:
        return _npz_dataset(npz[0], card, inputs)
    folder = path / "images" if (path / "images").is_dir() else path
    pictures = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    if not pictures:
        raise Rejected("dataset-empty", f"{folder} holds neither images nor arrays", "Put JPEG or PNG files into images/, or INPUT.npy files")
    return _image_dataset(path, folder, pictures, card, inputs)


# --- arrays -----------------------------------------------------------------------------------------------------------------------------


def _npz_dataset(path: Path, card: ModelCard, inputs: Sequence[TensorSpec]) -> Dataset:
    if path.suffix == ".npy" or path.suffix.lower() in SUFFIXES:
        raise Rejected("dataset-unreadable", f"{path.name} is a single {path.suffix} file", f"{_KINDS}; here, the folder {path.parent}")
    arrays = open_npz(path)
    return _array_dataset("npz", path.name, arrays, arrays, card, inputs)


def _array_dataset(
    kind: Literal["npz", "npy"],
    name: str,
    arrays: Mapping[str, ArrayFile],
    present: Mapping[str, object],
    card: ModelCard,
    inputs: Sequence[TensorSpec],
) -> Dataset:
    """Of the names `present`, `arrays` has at least those that are inputs or labels."""
    sources: dict[str, ArraySource] = {}
    for spec in inputs:
        if spec.name not in arrays:
            hint = nearest_hint(spec.name, present) if present else "It holds no arrays"
            message = f"{name} has no array {spec.name!r} for the model's input"
            raise Rejected("dataset-wrong-names", message, f"{hint}; arrays are named as the inputs")
        sources[spec.name] = ArraySource(arrays[spec.name], spec, card.input_card(spec.name))
    counts = {spec.name: sources[spec.name].samples for spec in inputs}
    if len(set(counts.values())) != 1:
        words = ", ".join(f"{count} of {tensor!r}" for tensor, count in counts.items())
        raise Rejected("dataset-wrong-count", f"{name} has different numbers of samples: {words}", "Give each input as many samples")
    samples = next(iter(counts.values()))
    if samples == 0:
        raise Rejected("dataset-empty", f"{name} has no samples", "Give at least one; a few hundred calibrate well")
    for source in sources.values():
        source.check(name)
    labels = arrays["labels"] if "labels" in arrays and "labels" not in counts else None
    return Dataset(kind, name, samples, None if labels is None else labels_from_array(name, labels, samples), sources)


# --- pictures ---------------------------------------------------------------------------------------------------------------------------


def _image_dataset(path: Path, folder: Path, pictures: Sequence[Path], card: ModelCard, inputs: Sequence[TensorSpec]) -> Dataset:
    if len(inputs) != 1:
        hint = "Give an .npz or a folder of .npy files"
        raise Rejected("dataset-wrong-names", f"{path.name} holds images, but the model has {len(inputs)} inputs", hint)
    spec = inputs[0]
    entry = card.input_card(spec.name)
    if entry.kind != "image":
        hint = f'Write a model card with [inputs.{spec.name}] kind = "image" beside the model'
        raise Rejected("dataset-wrong-type", f"{path.name} holds images, but no card says how {spec.name!r} wants them", hint)
    files, labels = tuple(pictures), None
    label_file = next((place / "labels.csv" for place in (path, folder) if (place / "labels.csv").is_file()), None)
    if label_file is not None:
        names, labels = labels_from_csv(label_file)
        known = {file.name for file in pictures}
        missing = next((name for name in names if name not in known), None)
        if missing is not None:
            message = f"labels.csv names {missing!r}, which is no JPEG or PNG in {folder.name}/"
            raise Rejected("dataset-wrong-labels", message, nearest_hint(missing, sorted(known)[:1000]))
        files = tuple(folder / name for name in names)
    return Dataset("images", path.name, len(files), labels, {spec.name: PictureSource(files, spec, entry)})


def _check_finite(name: str, values: Array, first: int) -> None:
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    bad = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))[0])
    message = f"sample {first + bad} of {name!r} holds NaN, infinity or more than {values.dtype} can"
    raise Rejected("dataset-not-finite", message, "Remove or repair that sample")
