"""Implicit INT8 of TensorRT 8.6 to 10: a calibrator that answers from a cache, or feeds batches from device memory.

The cache is text (docs of IInt8Calibrator): ``TRT-<version>-<algorithm>``, then ``tensor: scale`` with the scale as big-endian float32 in hex.
TensorRT only believes a cache of its own version and algorithm, so that the first line is written anew for the release that reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Protocol

from ...core.errors import Rejected
from ..base import Array, Tensors
from .binding import Binding

MAX_CACHE_BYTES = 16 << 20
_HEADER = re.compile(rb"TRT-\d+-(\w+)")
_CLASSES = {"EntropyCalibration2": "IInt8EntropyCalibrator2", "MinMaxCalibration": "IInt8MinMaxCalibrator"}
DEFAULT_ALGORITHM = "EntropyCalibration2"


class Uploads(Protocol):
    """Device memory for one batch."""

    def upload(self, name: str, values: Array) -> int:
        """Copy `values` to the device; returns its address, valid until the next upload of that name."""
        ...


def version_number(version: str) -> int:
    """The number in a cache's first line: 8.6.1 → 8601, 10.3.0 → 100300."""
    major, minor, patch = ([int(part) for part in re.findall(r"\d+", version)[:3]] + [0, 0, 0])[:3]
    return major * 10000 + minor * 100 + patch if major >= 10 else major * 1000 + minor * 100 + patch


def cache_for(binding: Binding, cache: bytes) -> tuple[str, bytes]:
    """The algorithm of `cache`, and its content as this release reads it.

    Raises:
        Rejected: ``calibration-cache-unreadable``.
    """
    first, _, rest = cache.partition(b"\n")
    match = _HEADER.fullmatch(first.strip())
    if match is None or not rest.strip() or len(cache) > MAX_CACHE_BYTES:
        raise Rejected("calibration-cache-unreadable", "the calibration cache has no line TRT-<version>-<algorithm>", "Calibrate again")
    algorithm = match[1].decode("ascii")
    if algorithm not in _CLASSES:
        raise Rejected("calibration-cache-unreadable", f"the calibration cache is of the algorithm {algorithm}", f"Use one of: {', '.join(_CLASSES)}")
    return algorithm, f"TRT-{version_number(binding.version)}-{algorithm}\n".encode() + rest


def make_calibrator(binding: Binding, *, cache: bytes | None, batches: Iterator[Tensors] | None, batch_size: int, uploads: Uploads | None) -> Any:
    """An ``IInt8Calibrator`` of this release. With `cache` no batch is asked for; ``.written`` is what TensorRT found itself.

    Raises:
        Rejected: ``calibration-cache-unreadable``, or ``calibration-missing`` with neither cache nor batches.
    """
    if cache is None and (batches is None or uploads is None):
        raise Rejected("calibration-missing", "INT8 without Q/DQ needs a calibration cache or samples", "Calibrate the model first")
    algorithm, known = (DEFAULT_ALGORITHM, None) if cache is None else cache_for(binding, cache)
    base = getattr(binding.trt, _CLASSES[algorithm])

    class Calibrator(base):  # type: ignore[misc, valid-type] # the base comes from an untyped module
        def __init__(self) -> None:
            base.__init__(self)
            self.written: bytes | None = None
            self.fed = 0

        def get_batch_size(self) -> int:
            return batch_size

        def get_batch(self, names: list[str], *_rest: object) -> list[int] | None:
            """Addresses of one batch on the device, in the order of `names`; None after the last."""
            if known is not None or batches is None or uploads is None:
                return None
            feeds = next(batches, None)
            if feeds is None or len(next(iter(feeds.values()))) < batch_size:
                return None
            self.fed += 1
            return [uploads.upload(name, feeds[name]) for name in names]

        def read_calibration_cache(self, *_rest: object) -> bytes | None:
            return known

        def write_calibration_cache(self, written: Any, *_rest: object) -> None:
            self.written = bytes(written)

    return Calibrator()
