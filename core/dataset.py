"""Datasets: calibration or evaluation inputs, streamed in batches and never loaded whole (DESIGN §5).

Three kinds behind one reader: a folder of images, an ``.npz``, a folder of ``.npy`` files. Rules:
- nothing is unpickled; header sizes, element counts and uncompressed sizes are bounded before they are read;
- names, shapes, types and counts are checked when the dataset is opened; NaN and infinity when a batch is read;
- every error names the file, the tensor or the sample, and what to do.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .arrays import ArrayFile, open_npy, open_npz
from .card import InputCard, ModelCard
from .errors import Rejected
from .images import SUFFIXES, fit_pixels, normalise, read_image
from .nearest import nearest_hint
from .tensors import TensorSpec

MAX_SAMPLES = 10_000_000
MAX_LABELS_BYTES = 256 << 20
Array = npt.NDArray[Any]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples `start` … `start` + size: one array per input, first axis = samples, dtype as the model wants it."""

    start: int
    feeds: dict[str, Array]
    labels: Labels | None

    @property
    def size(self) -> int:
        return len(next(iter(self.feeds.values())))


class _Source(Protocol):
    """One input's samples in order."""

    @property
    def samples(self) -> int: ...

    def read(self, start: int, stop: int) -> Array: ...


@dataclass(frozen=True, slots=True)
class Dataset:
    """An opened dataset. `labels` is None where there are none; `kind` is ``images``, ``npz`` or ``npy``."""

    kind: str
    name: str
    samples: int
    labels: Labels | None
    sources: Mapping[str, _Source]

    def batches(self, size: int, *, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
        """Samples `start` … `stop` in order, in batches of `size` (the last may be smaller); memory is one batch.

        Raises:
            Rejected: ``dataset-not-finite``, ``image-unreadable``, ``dataset-unreadable``.
        """
        end = self.samples if stop is None else min(stop, self.samples)
        for first in range(start, end, size):
            last = min(first + size, end)
            feeds = {name: source.read(first, last) for name, source in self.sources.items()}
            for name, values in feeds.items():
                _check_finite(name, values, first)
            yield Batch(first, feeds, None if self.labels is None else self.labels[first:last])


def open_dataset(path: Path, card: ModelCard, inputs: Sequence[TensorSpec]) -> Dataset:
    """Open the dataset at `path` for a model with these `inputs`.

    Raises:
        Rejected: ``dataset-missing``, ``dataset-unreadable``, ``dataset-empty``, ``dataset-wrong-names``, ``dataset-wrong-shape``,
            ``dataset-wrong-type``, ``dataset-wrong-count``, ``dataset-wrong-labels``.
    """
    if not path.exists():
        raise Rejected("dataset-missing", f"there is no dataset at {path}", "Give a folder of images, an .npz, or a folder of .npy files")
    kind, arrays, pictures = _look(path)
    if pictures is not None:
        return _image_dataset(path, pictures, card, inputs)
    return _array_dataset(kind, path, arrays, card, inputs)


def _look(path: Path) -> tuple[str, dict[str, ArrayFile], Path | None]:
    """The kind of the dataset, its arrays by name, or the folder of its pictures."""
    if path.is_file():
        return "npz", open_npz(path), None
    npz = sorted(path.glob("*.npz"))
    npy = sorted(path.glob("*.npy"))
    if len(npz) == 1 and not npy:
        return "npz", open_npz(npz[0]), None
    if npy:
        return "npy", {file.stem: open_npy(file) for file in npy}, None
    pictures = path / "images" if (path / "images").is_dir() else path
    if any(file.suffix.lower() in SUFFIXES for file in pictures.iterdir()):
        return "images", {}, pictures
    raise Rejected("dataset-empty", f"{path} holds neither images nor arrays", "Put JPEG or PNG files into images/, or INPUT.npy files")


# --- arrays -----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _ArraySource:
    file: ArrayFile
    spec: TensorSpec
    card: InputCard

    @property
    def samples(self) -> int:
        return self.file.shape[0]

    def read(self, start: int, stop: int) -> Array:
        values = self.file.read(start, stop)
        if self.is_picture:
            return normalise(np.stack([fit_pixels(picture, self.card) for picture in values]), self.card, self.spec.dtype)
        return np.ascontiguousarray(values.astype(self.spec.dtype, copy=False))

    @property
    def is_picture(self) -> bool:
        return self.card.kind == "image" and self.file.dtype == np.uint8 and len(self.file.shape) == 4 and self.spec.dtype != "uint8"


def _array_dataset(kind: str, path: Path, arrays: dict[str, ArrayFile], card: ModelCard, inputs: Sequence[TensorSpec]) -> Dataset:
    names = [spec.name for spec in inputs]
    label_file = arrays.pop("labels", None) if "labels" not in names else None
    for spec in inputs:
        if spec.name not in arrays:
            hint = nearest_hint(spec.name, arrays) if arrays else "It holds no arrays"
            raise Rejected(
                "dataset-wrong-names", f"{path.name} has no array {spec.name!r} for the model's input", f"{hint}; name arrays as inputs"
            )
    sources = {spec.name: _ArraySource(arrays[spec.name], spec, card.input_card(spec.name)) for spec in inputs}
    for source in sources.values():
        _check_array(path, source)
    counts = {source.samples for source in sources.values()}
    if len(counts) != 1:
        raise Rejected("dataset-wrong-count", f"the arrays of {path.name} have {sorted(counts)} samples", "Give each input as many samples")
    samples = counts.pop()
    if samples == 0:
        raise Rejected("dataset-empty", f"{path.name} has no samples", "Give at least one; a few hundred calibrate well")
    labels = None if label_file is None else _array_labels(path, label_file, samples)
    return Dataset(kind, path.name, samples, labels, sources)


def _check_array(path: Path, source: _ArraySource) -> None:
    spec, shape, dtype = source.spec, source.file.shape, source.file.dtype
    if not shape or shape[0] > MAX_SAMPLES:
        raise Rejected("dataset-wrong-shape", f"{spec.name!r} in {path.name} has shape {shape}", "The first axis counts the samples")
    if source.is_picture:
        if shape[3] not in {1, 3}:
            raise Rejected(
                "dataset-wrong-shape", f"{spec.name!r} in {path.name} has {shape[3]} channels", "Pictures are N x H x W x 1 or 3"
            )
        return
    wanted = spec.shape[1:]
    fits = len(shape) == len(spec.shape) and all(want in {None, have} for want, have in zip(wanted, shape[1:], strict=True))
    if not fits:
        expected = "x".join(str(axis or "?") for axis in wanted)
        have = "x".join(map(str, shape[1:]))
        hint = "Give arrays as the model's input expects them, or uint8 pictures and a model card of kind image"
        raise Rejected("dataset-wrong-shape", f"{spec.name!r} in {path.name} has samples of {have}, the model expects {expected}", hint)
    if not np.can_cast(dtype, np.dtype(spec.dtype), "same_kind") and not (dtype.kind in "iub" and np.dtype(spec.dtype).kind == "f"):
        raise Rejected(
            "dataset-wrong-type", f"{spec.name!r} in {path.name} is {dtype}, the model expects {spec.dtype}", "Convert the array"
        )


def _array_labels(path: Path, file: ArrayFile, samples: int) -> Labels:
    if file.dtype.kind not in "iu" or file.shape != (samples,):
        message = f"the labels of {path.name} are {file.dtype} of shape {file.shape}"
        raise Rejected("dataset-wrong-labels", message, f"Give {samples} integers, one per sample")
    return file.read(0, samples).astype(np.int64)


# --- pictures ---------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _PictureSource:
    files: tuple[Path, ...]
    spec: TensorSpec
    card: InputCard

    @property
    def samples(self) -> int:
        return len(self.files)

    def read(self, start: int, stop: int) -> Array:
        pictures = np.stack([read_image(path, self.card) for path in self.files[start:stop]])
        if self.spec.dtype == "uint8":
            return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)) if self.card.layout == "NCHW" else pictures
        return normalise(pictures, self.card, self.spec.dtype)


def _image_dataset(path: Path, folder: Path, card: ModelCard, inputs: Sequence[TensorSpec]) -> Dataset:
    if len(inputs) != 1:
        hint = "Give an .npz or a folder of .npy files"
        raise Rejected("dataset-wrong-names", f"{path.name} holds images, but the model has {len(inputs)} inputs", hint)
    spec = inputs[0]
    entry = card.input_card(spec.name)
    if entry.kind != "image":
        hint = f'Write a model card with [inputs.{spec.name}] kind = "image" beside the model'
        raise Rejected("dataset-wrong-type", f"{path.name} holds images, but no card says how {spec.name!r} wants them", hint)
    label_file = next((place / "labels.csv" for place in (path, folder) if (place / "labels.csv").is_file()), None)
    if label_file is None:
        files = tuple(sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES))
        return Dataset("images", path.name, len(files), None, {spec.name: _PictureSource(files, spec, entry)})
    names, labels = _read_labels(label_file)
    files = tuple(folder / name for name in names)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise Rejected("dataset-wrong-labels", f"{label_file.name} names {missing[0]!r}, which is not there", "Correct labels.csv")
    return Dataset("images", path.name, len(files), labels, {spec.name: _PictureSource(files, spec, entry)})


def _read_labels(path: Path) -> tuple[list[str], Labels]:
    """The rows of a ``labels.csv`` (``file,label[,name]``, with or without that heading), in their order."""

    def refuse(what: str) -> Rejected:
        return Rejected("dataset-wrong-labels", f"{path.name} {what}", "Write lines of file,label with label = 0, 1, 2 …")

    if path.stat().st_size > MAX_LABELS_BYTES:
        raise refuse("is too large")
    names: list[str] = []
    labels: list[int] = []
    with ExitStack() as stack:
        try:
            rows = list(csv.reader(stack.enter_context(path.open(encoding="utf-8", newline=""))))
        except (UnicodeDecodeError, csv.Error) as error:
            raise refuse(f"is not CSV: {error}") from error
    for number, row in enumerate(rows, 1):
        if not row or (number == 1 and row[:2] == ["file", "label"]):
            continue
        if len(row) < 2 or not row[1].strip().isdecimal() or len(row[1]) > 12 or "/" in row[0] or row[0] in {"", ".", ".."}:
            raise refuse(f"line {number} does not fit")
        names.append(row[0])
        labels.append(int(row[1]))
    if not names:
        raise Rejected("dataset-empty", f"{path.name} names no files", "Write lines of file,label")
    return names, np.asarray(labels, np.int64)


def _check_finite(name: str, values: Array, first: int) -> None:
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    bad = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))[0])
    raise Rejected("dataset-not-finite", f"sample {first + bad} of {name!r} holds NaN or infinity", "Remove or repair that sample")
