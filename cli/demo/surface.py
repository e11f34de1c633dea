"""Images of manufactured surfaces with and without defects, drawn by seeded numpy code: the demo's data.

96×96 RGB pictures of brushed, woven or cast material under uneven light, with low contrast, noise and distractors, so that a classifier
has to work for its accuracy. Nothing here is anybody's picture.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

CLASSES: tuple[str, ...] = ("good", "scratch", "pit", "crack", "stain", "inclusion", "roll-mark", "edge-burr")
SIZE = 96

Image = npt.NDArray[np.float32]
Rng = np.random.Generator

_X: Image = np.tile(np.arange(SIZE, dtype=np.float32), (SIZE, 1))
_Y: Image = _X.T.copy()


def surfaces(count: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """`count` images, uint8 N×96×96×3, and their labels, int64 N: classes in turn, so that every prefix is balanced.

    Image i depends on `seed` and i alone. Another numpy or processor may round a few pixels in a million one level apart.
    """
    images = np.empty((count, SIZE, SIZE, 3), np.uint8)
    labels = np.arange(count, dtype=np.int64) % len(CLASSES)
    for index in range(count):
        images[index] = _draw(int(labels[index]), np.random.Generator(np.random.PCG64([seed, index])))
    return images, labels


def write_dataset(path: Path, count: int, seed: int, input_name: str = "input") -> None:
    """Write `count` images as the ``.npz`` dataset `path`: uint8 pictures for the model card, and labels; equal arguments, equal bytes."""
    images, labels = surfaces(count, seed)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in ((input_name, images), ("labels", labels)):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _draw(label: int, rng: Rng) -> npt.NDArray[np.uint8]:
    surface = _material(rng)
    if rng.random() < 0.5:
        surface += _distractor(rng)
    defect = _DEFECTS[label]
    if defect is not None:
        surface += defect(rng) * np.float32(rng.uniform(0.65, 1.1))
    light = 1.0 + rng.uniform(-0.25, 0.25) * (_X / SIZE - 0.5) + rng.uniform(-0.25, 0.25) * (_Y / SIZE - 0.5)
    tint = rng.uniform(0.88, 1.0, 3).astype(np.float32)
    noise = rng.standard_normal((SIZE, SIZE), np.float32) * np.float32(rng.uniform(2.0, 8.0))
    picture = (rng.uniform(90, 160) + surface * rng.uniform(0.8, 1.2)) * light + noise
    return _image(np.clip(picture[..., None] * tint, 0, 255)).astype(np.uint8)


def _image(values: npt.ArrayLike) -> Image:
    return np.asarray(values, np.float32)


def _material(rng: Rng) -> Image:
    """Brushed metal, weave or casting."""
    kind = rng.integers(3)
    if kind == 0:
        lines = rng.standard_normal(SIZE).astype(np.float32) * 9
        return _image(lines[:, None] + _smooth(rng, 12) * 5)
    if kind == 1:
        period = rng.uniform(5, 9)
        phase = rng.uniform(0, 6.28, 2)
        return _image(np.sin(_X * 6.28 / period + phase[0]) * np.sin(_Y * 6.28 / period + phase[1]) * 11)
    return _image(_smooth(rng, 24) * 9 + _smooth(rng, 8) * 6)


def _smooth(rng: Rng, cells: int) -> Image:
    """Value noise of unit scale: a grid of `cells` random values, bilinearly enlarged."""
    grid = rng.standard_normal((cells + 1, cells + 1)).astype(np.float32)
    y, x = _Y * (cells / SIZE), _X * (cells / SIZE)
    row, column = y.astype(np.intp), x.astype(np.intp)
    dy, dx = y - row, x - column
    top = grid[row, column] * (1 - dx) + grid[row, column + 1] * dx
    bottom = grid[row + 1, column] * (1 - dx) + grid[row + 1, column + 1] * dx
    return _image(top * (1 - dy) + bottom * dy)


def _segment(rng: Rng, length: tuple[float, float], width: float, *, angle: float | None = None) -> Image:
    """A soft line of unit depth; `length` is its range in pixels, `width` its sigma."""
    turn = rng.uniform(0, np.pi) if angle is None else angle
    cx, cy = rng.uniform(20, SIZE - 20, 2)
    along = (_X - cx) * np.cos(turn) + (_Y - cy) * np.sin(turn)
    across = -(_X - cx) * np.sin(turn) + (_Y - cy) * np.cos(turn)
    half = rng.uniform(*length) / 2
    ends = 1 / (1 + np.exp(np.clip((np.abs(along) - half) * 2, -30, 30)))
    return _image(np.exp(-((across / width) ** 2)) * ends)


def _blob(rng: Rng, radius: tuple[float, float], *, power: float = 2.0) -> Image:
    cx, cy = rng.uniform(14, SIZE - 14, 2)
    rx, ry = rng.uniform(*radius, 2)
    distance = ((_X - cx) / rx) ** 2 + ((_Y - cy) / ry) ** 2
    return _image(np.exp(-(distance ** (power / 2))))


def _distractor(rng: Rng) -> Image:
    """What is on good surfaces too: a faint smudge, or a short bright hair."""
    if rng.random() < 0.5:
        return _image(_blob(rng, (10, 26)) * rng.uniform(-9, 9))
    return _image(_segment(rng, (8, 18), 0.8) * rng.uniform(5, 12))


def _scratch(rng: Rng) -> Image:
    return _image(_segment(rng, (30, 75), rng.uniform(0.7, 1.3)) * (rng.choice([-1, 1]) * rng.uniform(18, 45)))


def _pit(rng: Rng) -> Image:
    pits = [_blob(rng, (1.5, 3.2)) for _ in range(int(rng.integers(2, 6)))]
    return _image(-np.sum(pits, 0) * rng.uniform(28, 60))


def _crack(rng: Rng) -> Image:
    """A dark random walk: like a scratch, but never straight."""
    surface = np.zeros((SIZE, SIZE), np.float32)
    x, y = rng.uniform(20, SIZE - 20, 2)
    turn = rng.uniform(0, 6.28)
    for _ in range(int(rng.integers(26, 48))):
        turn += rng.normal(0, 0.55)
        x, y = x + 1.6 * np.cos(turn), y + 1.6 * np.sin(turn)
        row, column = int(y), int(x)
        if 1 <= row < SIZE - 1 and 1 <= column < SIZE - 1:
            surface[row, column] = 1
            surface[row, column + 1] = max(surface[row, column + 1], 0.55)
            surface[row + 1, column] = max(surface[row + 1, column], 0.55)
    return _image(-surface * rng.uniform(25, 55))


def _stain(rng: Rng) -> Image:
    edge = _blob(rng, (9, 20), power=5) * (1 + 0.4 * _smooth(rng, 10))
    return _image(edge * (rng.choice([-1, 1]) * rng.uniform(14, 32)))


def _inclusion(rng: Rng) -> Image:
    """A compact bright grain with a dark rim."""
    cx, cy = rng.uniform(14, SIZE - 14, 2)
    radius = rng.uniform(3.0, 5.5)
    distance = np.sqrt((_X - cx) ** 2 + ((_Y - cy) * rng.uniform(0.7, 1.4)) ** 2)
    core = np.exp(-((distance / radius) ** 4))
    rim = np.exp(-(((distance - radius * 1.35) / 1.2) ** 2))
    return _image((core - 0.8 * rim) * rng.uniform(22, 48))


def _roll_mark(rng: Rng) -> Image:
    """Parallel marks at a fixed distance, as a damaged roller leaves them."""
    spacing = rng.uniform(13, 22)
    phase = rng.uniform(0, spacing)
    turn = rng.uniform(0, np.pi)
    across = _X * np.cos(turn) + _Y * np.sin(turn)
    offset = (across + phase) % spacing - spacing / 2
    return _image(np.exp(-((offset / 1.3) ** 2)) * rng.choice([-1, 1]) * rng.uniform(9, 22))


def _edge_burr(rng: Rng) -> Image:
    """A ragged bright border on one side."""
    depth = rng.uniform(4, 9) + _smooth(rng, 20)[0] * rng.uniform(1.5, 3)
    side = rng.integers(4)
    position = (_X, _Y, SIZE - 1 - _X, SIZE - 1 - _Y)[side]
    border = depth[:, None] if side in {0, 2} else depth[None, :]
    return _image((position < border) * rng.uniform(16, 40))


_DEFECTS: tuple[Callable[[Rng], Image] | None, ...] = (
    None, _scratch, _pit, _crack, _stain, _inclusion, _roll_mark, _edge_burr,
)  # fmt: skip
