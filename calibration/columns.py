"""Second moments of what a layer's weights are multiplied with: the columns of its input, one per weight of an output channel.

Places are sampled evenly, so that time does not grow with the picture; per group of the convolution one matrix, columns × columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .graph import attribute

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
MAX_COLUMNS = 8192
PLACES_PER_COLUMN = 4
MIN_PLACES = 2048
MAX_GROUPS = 4096


@dataclass(slots=True)
class ColumnMoments:
    """Adds up batches of one layer's input. `kernel` None = a matrix product; `seen` counts places."""

    kernel: tuple[int, ...] | None
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    count: int
    places: int
    _sums: Doubles | None = None
    _products: Doubles | None = None
    seen: int = 0

    @classmethod
    def of(cls, node: Any, rows: tuple[int, ...], batches: int) -> ColumnMoments | None:
        """For `node` with weights of `rows` (output channels × columns), from `batches`; None where columns are not taken apart."""
        if rows[1] > MAX_COLUMNS:
            return None
        if node.op_type == "Gemm":
            return cls(None, (), (), (), 1, 0)
        kernel = tuple(attribute(node, "kernel_shape", ()))
        is_padded_by_rule = attribute(node, "auto_pad", b"NOTSET") not in {b"NOTSET", b"VALID"}
        if node.op_type != "Conv" or len(kernel) != 2 or is_padded_by_rule or attribute(node, "group", 1) > MAX_GROUPS:
            return None
        ones = (1, 1)
        pads = tuple(attribute(node, "pads", (0, 0, 0, 0)))
        strides, dilations, groups = attribute(node, "strides", ones), attribute(node, "dilations", ones), attribute(node, "group", 1)
        places = max(MIN_PLACES, PLACES_PER_COLUMN * rows[1]) // batches + 1
        return cls(kernel, tuple(strides), pads, tuple(dilations), groups, places)

    def add(self, values: Floats) -> None:
        columns = values.reshape(1, *values.shape) if self.kernel is None else self._columns(values)
        if self._products is None:
            self._products = np.zeros((columns.shape[0], columns.shape[2], columns.shape[2]))
            self._sums = np.zeros((columns.shape[0], columns.shape[2]))
        assert self._sums is not None
        self._products += np.matmul(columns.transpose(0, 2, 1), columns)
        self._sums += columns.sum(axis=1, dtype=np.float64)
        self.seen += columns.shape[1]

    def groups(self) -> Iterator[Doubles]:
        """The moments about the mean, group by group."""
        assert self._products is not None
        assert self._sums is not None
        for products, sums in zip(self._products, self._sums, strict=True):
            mean = sums / self.seen
            yield products / self.seen - np.outer(mean, mean)

    def _columns(self, values: Floats) -> Floats:
        """groups × sampled places × columns."""
        assert self.kernel is not None
        padded = np.pad(values, ((0, 0), (0, 0), (self.pads[0], self.pads[2]), (self.pads[1], self.pads[3])))
        spans = [(size - 1) * dilation + 1 for size, dilation in zip(self.kernel, self.dilations, strict=True)]
        high, wide = ((padded.shape[2 + axis] - spans[axis]) // self.strides[axis] + 1 for axis in range(2))
        places = np.unique(np.linspace(0, len(values) * high * wide - 1, self.places).astype(np.int64))
        sample, rest = np.divmod(places, high * wide)
        row, column = np.divmod(rest, wide)
        row, column = row * self.strides[0], column * self.strides[1]
        taps = [
            padded[sample, :, row + i * self.dilations[0], column + j * self.dilations[1]]
            for i in range(self.kernel[0])
            for j in range(self.kernel[1])
        ]
        stacked = np.stack(taps, axis=2).reshape(len(places), self.count, -1)
        return np.ascontiguousarray(stacked.transpose(1, 0, 2))
