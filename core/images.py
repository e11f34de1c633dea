"""Pictures to tensors, as a model card says. Pillow decodes and resizes; bounds are checked before a pixel is decoded.

Rules:
- a picture of another size: its shorter side to the card's size (bilinear, antialiased), then a centre crop;
- alpha is dropped, 16 bits become their upper 8, EXIF rotation is not applied: a camera's frames have none;
- ``(x - mean) / std`` in float32 in the tensor's channel order; integer tensors get it rounded and clipped.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .card import InputCard
from .errors import Rejected, Unfit

MAX_PIXELS = 64_000_000
MAX_FILE_BYTES = 64 << 20
SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
_BROKEN = (
    OSError, EOFError, ValueError, TypeError, SyntaxError, OverflowError, MemoryError, RuntimeError, LookupError, struct.error, zlib.error,
)  # fmt: skip

Pixels = npt.NDArray[np.uint8]


def read_image(path: Path, card: InputCard) -> Pixels:
    """Decode one JPEG or PNG to uint8 height×width×channels of the card's size, channels in the tensor's order.

    Raises:
        Rejected: ``image-unreadable`` or ``image-too-large``.
        Unfit: ``pillow-missing``.
    """
    pillow = _pillow()
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise Rejected("image-too-large", f"{path.name} is larger than {MAX_FILE_BYTES} bytes", "Use smaller pictures")
        with pillow.open(path, formats=("JPEG", "PNG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Rejected("image-too-large", f"{path.name} has {image.width}x{image.height} pixels", "Use smaller pictures")
            return _fit(_eight_bits(image), card)
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
        raise Rejected("image-too-large", f"{path.name} has too many pixels", "Use smaller pictures") from error
    except _BROKEN as error:
        words = str(error) or type(error).__name__
        raise Rejected("image-unreadable", f"{path.name} is not a readable JPEG or PNG: {words}", "Remove or replace it") from error


def fit_pixels(pictures: Pixels, card: InputCard) -> Pixels:
    """Pictures in memory (N×height×width×channels, RGB or grey), fitted to the card like files."""
    if pictures.shape[1:] == (*_size(card), card.channels):
        return _ordered(pictures, card)
    pillow = _pillow()
    return np.stack([_fit(pillow.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture), card) for picture in pictures])


def tensor_from_pixels(pictures: Pixels, card: InputCard, dtype: str) -> npt.NDArray[Any]:
    """uint8 N×H×W×C in the tensor's channel order to the tensor itself, in the card's layout and `dtype`.

    One plane of one picture at a time: it stays in the cache, which is 30 times as fast as whole batches.
    """
    count, height, width, channels = pictures.shape
    shape = (count, channels, height, width) if card.layout == "NCHW" else (count, height, width, channels)
    tensor = np.empty(shape, dtype)
    means = np.broadcast_to(np.asarray(card.mean or 0, np.float32), channels)
    scales = np.broadcast_to(np.asarray(card.std or 1, np.float32), channels)
    plane = np.empty((height, width), np.float32)
    for index in range(count):
        for channel in range(channels):
            np.copyto(plane, pictures[index, :, :, channel])
            plane -= means[channel]
            plane /= scales[channel]
            if tensor.dtype.kind in "iu":
                limits = np.iinfo(tensor.dtype)
                np.clip(np.rint(plane, out=plane), limits.min, limits.max, out=plane)
            target = tensor[index, channel] if card.layout == "NCHW" else tensor[index, :, :, channel]
            np.copyto(target, plane, casting="unsafe")
    return tensor


def _size(card: InputCard) -> tuple[int, int]:
    assert card.size is not None, "an image card has a size"
    return card.size


def _eight_bits(image: Any) -> Any:
    """Pillow clips 16-bit greys to 255 instead of scaling them."""
    if image.mode.startswith("I"):
        return _pillow().fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    return image


def _fit(image: Any, card: InputCard) -> Pixels:
    image = image.convert("L" if card.color == "GRAY" else "RGB")
    height, width = _size(card)
    if (image.height, image.width) != (height, width):
        scale = max(height / image.height, width / image.width)
        fitted = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
        if fitted[0] * fitted[1] > MAX_PIXELS:
            shape = f"{image.width}x{image.height}"
            raise Rejected("image-too-large", f"a picture of {shape} is too narrow for {width}x{height}", "Crop it, or remove it")
        image = image.resize(fitted, _pillow().Resampling.BILINEAR)
        left, top = (fitted[0] - width) // 2, (fitted[1] - height) // 2
        image = image.crop((left, top, left + width, top + height))
    pixels = np.asarray(image, np.uint8)
    return _ordered(pixels if pixels.ndim == 3 else pixels[:, :, None], card)


def _ordered(pixels: Pixels, card: InputCard) -> Pixels:
    return pixels[..., ::-1] if card.color == "BGR" else pixels


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise Unfit("pillow-missing", "reading pictures needs Pillow, which is not installed", "pip install 'edgewright[images]'") from error
    return Image
