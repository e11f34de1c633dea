"""Pictures to tensors, as a model card says. Pillow decodes and resizes; bounds are checked before a pixel is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .card import InputCard
from .errors import Rejected, Unfit

MAX_PIXELS = 64_000_000
MAX_FILE_BYTES = 64 << 20
SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})

Pixels = npt.NDArray[np.uint8]


def read_image(path: Path, card: InputCard) -> Pixels:
    """Decode one JPEG or PNG to uint8 height×width×channels of the card's size, channels in the tensor's order.

    Raises:
        Rejected: ``image-unreadable`` or ``image-too-large``.
        Unfit: ``pillow-missing``.
    """
    image_module = _pillow()
    if path.stat().st_size > MAX_FILE_BYTES:
        raise Rejected("image-too-large", f"{path.name} is larger than {MAX_FILE_BYTES} bytes", "Use smaller pictures")
    try:
        with image_module.open(path, formats=("JPEG", "PNG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Rejected("image-too-large", f"{path.name} has {image.width}x{image.height} pixels", "Use smaller pictures")
            return _fit(image.convert("L" if card.color == "GRAY" else "RGB"), card)
    except (OSError, SyntaxError, ValueError, EOFError, image_module.DecompressionBombError) as error:
        raise Rejected("image-unreadable", f"{path.name} is not a readable JPEG or PNG: {error}", "Remove or replace it") from error


def fit_pixels(pixels: Pixels, card: InputCard) -> Pixels:
    """One picture in memory (height×width×channels, RGB or grey), fitted to the card like a file."""
    assert card.size is not None
    height, width, channels = pixels.shape
    if (height, width) == card.size and channels == card.channels:
        return _ordered(pixels, card)
    image = _pillow().fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    return _fit(image.convert("L" if card.color == "GRAY" else "RGB"), card)


def normalise(batch: Pixels, card: InputCard, dtype: str) -> npt.NDArray[Any]:
    """uint8 N×H×W×C in the tensor's channel order to the tensor itself, in the card's layout and `dtype`."""
    values = batch.astype(np.float32)
    if card.mean:
        values -= np.asarray(card.mean, np.float32)
    if card.std:
        values /= np.asarray(card.std, np.float32)
    if card.layout == "NCHW":
        values = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
    return values.astype(dtype, copy=False)


def _fit(image: Any, card: InputCard) -> Pixels:
    """The shorter side to its size (bilinear, antialiased), then a centre crop."""
    assert card.size is not None
    height, width = card.size
    if (image.height, image.width) != (height, width):
        scale = max(height / image.height, width / image.width)
        fitted = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
        image = image.resize(fitted, _pillow().Resampling.BILINEAR)
        left, top = (fitted[0] - width) // 2, (fitted[1] - height) // 2
        image = image.crop((left, top, left + width, top + height))
    pixels = np.asarray(image, np.uint8)
    return _ordered(pixels if pixels.ndim == 3 else pixels[:, :, None], card)


def _ordered(pixels: Pixels, card: InputCard) -> Pixels:
    return pixels[:, :, ::-1] if card.color == "BGR" else pixels


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise Unfit(
            "pillow-missing", "reading pictures needs Pillow, which is not installed", "pip install 'edgewright[images]'"
        ) from error
    return Image
