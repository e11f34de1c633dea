"""From real weights to codes: the scale of each output channel, and which code each weight gets.

- Weights that lie on a grid already, as those of networks trained for quantisation do, keep it: the scale is the grid's step, the codes exact.
- Else the largest weight gets the largest code.
- Second-order rounding takes the columns in the order of their inputs' power and moves each rounding error into the weights that are still
  free (GPTQ's order of Frantar et al. 2022), for the inputs that the quantised network itself produces. On few samples it fits what is
  particular to them: the moments are damped, and a layer keeps it only where it lowers the error on samples that it has not seen.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
MIN_SCALE = 1e-12
DAMPING = 0.3
_BLOCK = 64
_TOLERANCE = 2e-3


def grid_steps(rows: npt.NDArray[np.floating]) -> Doubles:
    """The step of the grid that each row's values lie on, NaN where there is none of at most 511 levels."""
    return np.array([_grid_step(row) for row in rows.astype(np.float64)])


def _grid_step(row: Doubles) -> float:
    levels = np.unique(np.abs(row))
    levels = levels[levels > 0]
    if len(levels) < 2 or len(row) < 4:
        return float("nan")
    largest = float(levels[-1])
    gaps = np.diff(levels)
    tried = np.concatenate([levels[:1], np.sort(gaps[gaps > largest / 300])[:3]])
    for step in tried[tried > largest / 300]:
        codes = np.rint(row / step)
        fitted = float(row @ codes / max(codes @ codes, 1.0))
        if np.abs(row - codes * fitted).max() < _TOLERANCE * fitted:
            return fitted
    return float("nan")


def row_scales(rows: npt.NDArray[np.floating], weight_max: int) -> Floats:
    """One scale per row; a row of zeros gets scale 1."""
    largest = np.abs(rows).max(axis=1, initial=0.0).astype(np.float64)
    scales = np.where(largest > 0, np.maximum(largest / weight_max, MIN_SCALE), 1.0)
    steps = grid_steps(rows)
    fits = np.nan_to_num(steps, nan=0.0) * (weight_max + 0.4) >= largest
    return np.where(fits & np.isfinite(steps), steps, scales).astype(np.float32)


def nearest_codes(rows: npt.NDArray[np.floating], scales: Floats, weight_max: int) -> npt.NDArray[np.int8]:
    codes: npt.NDArray[np.int8] = np.clip(np.rint(rows / scales[:, None].astype(np.float64)), -weight_max, weight_max).astype(np.int8)
    return codes


def second_order_codes(rows: npt.NDArray[np.floating], scales: Floats, moments: Doubles, weight_max: int) -> npt.NDArray[np.int8]:
    """`moments` are the second moments of the inputs about their mean, columns × columns: biases take care of means."""
    columns = rows.shape[1]
    damped = moments + np.eye(columns) * max(DAMPING * float(np.trace(moments)) / columns, 1e-12)
    order = np.argsort(-np.diag(damped), kind="stable")
    upper = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    free = rows[:, order].astype(np.float64)
    wide = scales.astype(np.float64)
    codes = np.empty(free.shape, np.int8)
    for first in range(0, columns, _BLOCK):
        stop = min(first + _BLOCK, columns)
        errors = np.empty((len(rows), stop - first))
        for column in range(first, stop):
            rounded = np.clip(np.rint(free[:, column] / wide), -weight_max, weight_max)
            codes[:, column] = rounded
            errors[:, column - first] = (free[:, column] - rounded * wide) / upper[column, column]
            free[:, column + 1 : stop] -= np.outer(errors[:, column - first], upper[column, column + 1 : stop])
        free[:, stop:] -= errors @ upper[first:stop, stop:]
    result = np.empty_like(codes)
    result[:, order] = codes
    return result


def output_error(rows: npt.NDArray[np.floating], codes: npt.NDArray[np.int8], scales: Floats, moments: Doubles) -> Doubles:
    """The variance of each row's output error that the codes cause on inputs with these `moments`."""
    error = rows.astype(np.float64) - codes * scales[:, None].astype(np.float64)
    return np.asarray(np.einsum("nk,nk->n", error @ moments, error))
