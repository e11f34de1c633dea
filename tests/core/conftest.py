"""Datasets and pictures with known content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[Any]


@pytest.fixture
def save_png() -> Callable[[Path, Array], Path]:
    """Write an H×W, H×W×3 or H×W×4 uint8 array as a PNG, which keeps every value."""
    image = pytest.importorskip("PIL.Image", reason="pictures need Pillow: pip install 'edgewright[images]'")

    def save(path: Path, pixels: Array) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.fromarray(pixels).save(path, "PNG")
        return path

    return save


@pytest.fixture
def random_pixels() -> Callable[..., Array]:
    return lambda *shape, seed=1: np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
