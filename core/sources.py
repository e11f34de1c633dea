"""Where one input's samples come from: an array or a list of pictures, read as the model wants them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .arrays import ArrayFile, Read
from .card import InputCard
from .errors import Rejected
from .images import MAX_PIXELS, fit_pixels, read_image, tensor_from_pixels
from .tensors import TensorSpec

MAX_SAMPLES = 10_000_000
MAX_DECODERS = 4

Array = npt.NDArray[Any]


class Source(Protocol):
    """One input's samples in order."""

    @property
    def samples(self) -> int: ...

    def reader(self) -> AbstractContextManager[Read]:
        """``read(start, stop)`` gives samples in the tensor's type and shape; files are closed on leaving."""
        ...


@dataclass(frozen=True, slots=True)
class ArraySource:
    """Samples of an array: as they are, or as pictures when the card and the array say so."""

    file: ArrayFile
    spec: TensorSpec
    card: InputCard

    @property
    def samples(self) -> int:
        return self.file.shape[0]

    @property
    def is_picture(self) -> bool:
        """uint8 N×H×W×C for an image input, unless a uint8 tensor takes exactly this array."""
        if self.card.kind != "image" or self.file.dtype != np.uint8 or len(self.file.shape) != 4:
            return False
        return self.spec.dtype != "uint8" or self.card.layout == "NHWC" or not self._is_exact

    @property
    def _is_exact(self) -> bool:
        shape, wanted = self.file.shape, self.spec.shape
        return len(shape) == len(wanted) and all(want in {None, have} for want, have in zip(wanted[1:], shape[1:], strict=True))

    def check(self, dataset: str) -> None:
        """Hold shape and type against the model's.

        Raises:
            Rejected: ``dataset-wrong-shape`` or ``dataset-wrong-type``.
        """
        shape, name = self.file.shape, self.spec.name
        if shape[0] > MAX_SAMPLES or 0 in shape:
            words = "x".join(map(str, shape))
            raise Rejected("dataset-wrong-shape", f"{name!r} in {dataset} has shape {words}", f"Give 1 to {MAX_SAMPLES} samples of some size")
        if self.is_picture:
            self._check_picture(dataset)
        else:
            self._check_array(dataset)

    def _check_picture(self, dataset: str) -> None:
        _, height, width, channels = self.file.shape
        if channels not in {1, 3} or height * width > MAX_PIXELS:
            message = f"{self.spec.name!r} in {dataset} has pictures of {height}x{width}x{channels}"
            raise Rejected("dataset-wrong-shape", message, "uint8 pictures are samples x height x width x 1 or 3 channels")

    def _check_array(self, dataset: str) -> None:
        dtype, wanted = self.file.dtype, numpy_type(self.spec)
        if not self._is_exact:
            expected = "x".join(str(axis or "?") for axis in self.spec.shape[1:]) or "one number"
            have = "x".join(map(str, self.file.shape[1:])) or "one number"
            message = f"{self.spec.name!r} in {dataset} has samples of {have}, the model expects {expected}"
            hint = "Give arrays as the model's input expects them, or uint8 pictures and a model card of kind image"
            raise Rejected("dataset-wrong-shape", message, hint)
        if not (np.can_cast(dtype, wanted, "same_kind") or (dtype.kind in "iub" and wanted.kind == "f")):
            message = f"{self.spec.name!r} in {dataset} is {dtype}, the model expects {wanted}"
            raise Rejected("dataset-wrong-type", message, f"Save it as {wanted}")

    @contextmanager
    def reader(self) -> Iterator[Read]:
        with self.file.reader() as read:
            yield lambda start, stop: self._tensor(read(start, stop), start)

    def _tensor(self, values: Array, start: int) -> Array:
        # What float16 or float32 cannot hold becomes infinity, which the dataset refuses by its sample's number.
        with np.errstate(over="ignore"):
            if self.is_picture:
                return tensor_from_pixels(fit_pixels(values, self.card), self.card, self.spec.dtype)
            tensor = np.ascontiguousarray(values.astype(self.spec.dtype, copy=False))
        if tensor.dtype.kind in "iu" and tensor.dtype != values.dtype and not np.array_equal(tensor, values):
            bad = start + int(np.flatnonzero((tensor != values).reshape(len(values), -1).any(1))[0])
            message = f"sample {bad} of {self.spec.name!r} has numbers that {tensor.dtype} cannot hold"
            raise Rejected("dataset-wrong-type", message, f"Give numbers within the range of {tensor.dtype}")
        return tensor


@dataclass(frozen=True, slots=True)
class PictureSource:
    """Samples of picture files, decoded by a few threads: decoders release the interpreter's lock."""

    files: tuple[Path, ...]
    spec: TensorSpec
    card: InputCard

    @property
    def samples(self) -> int:
        return len(self.files)

    @contextmanager
    def reader(self) -> Iterator[Read]:
        with ThreadPoolExecutor(min(MAX_DECODERS, len(os.sched_getaffinity(0))), "decoder") as pool:

            def read(start: int, stop: int) -> Array:
                pictures = np.stack(list(pool.map(lambda file: read_image(file, self.card), self.files[start:stop])))
                with np.errstate(over="ignore"):
                    return tensor_from_pixels(pictures, self.card, self.spec.dtype)

            yield read


def numpy_type(spec: TensorSpec) -> np.dtype[Any]:
    """The numeric type of `spec`.

    Raises:
        Rejected: ``dataset-wrong-type`` for text and for types that numpy does not have.
    """
    try:
        dtype = np.dtype(spec.dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "biuf":
        message = f"the model's input {spec.name!r} is of {spec.dtype}, which datasets cannot hold"
        raise Rejected("dataset-wrong-type", message, "Export the model with inputs of float32, float16 or integers")
    return dtype
