"""Pictures: what a card says about size, colour, layout and numbers, against values computed by hand."""

from __future__ import annotations

import builtins
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from edgewright.core import images
from edgewright.core.card import InputCard
from edgewright.core.errors import Rejected, Unfit
from edgewright.core.images import fit_pixels, read_image, tensor_from_pixels

Image = pytest.importorskip("PIL.Image", reason="pictures need Pillow: pip install 'edgewright[images]'")


def card(height: int, width: int, **fields: object) -> InputCard:
    return InputCard(kind="image", size=(height, width), **fields)


def test_a_picture_of_the_card_s_size_keeps_every_value(tmp_path: Path, save_png, random_pixels) -> None:
    pixels = random_pixels(5, 7, 3)

    assert np.array_equal(read_image(save_png(tmp_path / "p.png", pixels), card(5, 7)), pixels)


def test_bgr_reverses_the_channels_of_files_and_of_arrays(tmp_path: Path, save_png, random_pixels) -> None:
    pixels = random_pixels(5, 7, 3)
    bgr = card(5, 7, color="BGR")

    assert np.array_equal(read_image(save_png(tmp_path / "p.png", pixels), bgr), pixels[:, :, [2, 1, 0]])
    assert np.array_equal(fit_pixels(pixels[None], bgr)[0], pixels[:, :, [2, 1, 0]])


def test_grey_is_the_luma_of_rec_601(tmp_path: Path, save_png, random_pixels) -> None:
    pixels = random_pixels(5, 7, 3)
    expected = pixels @ np.array([0.299, 0.587, 0.114])

    grey = read_image(save_png(tmp_path / "p.png", pixels), card(5, 7, color="GRAY"))

    assert grey.shape == (5, 7, 1)
    assert np.abs(grey[:, :, 0] - expected).max() <= 1


def test_a_grey_picture_fills_three_channels(tmp_path: Path, save_png, random_pixels) -> None:
    pixels = random_pixels(5, 7)

    colour = read_image(save_png(tmp_path / "p.png", pixels), card(5, 7))

    assert np.array_equal(colour, np.stack([pixels] * 3, axis=2))
    assert np.array_equal(fit_pixels(pixels[None, :, :, None], card(5, 7))[0], colour)


def test_alpha_is_dropped(tmp_path: Path, save_png, random_pixels) -> None:
    pixels = random_pixels(5, 7, 4)

    assert np.array_equal(read_image(save_png(tmp_path / "p.png", pixels), card(5, 7)), pixels[:, :, :3])


def test_sixteen_bits_become_their_upper_eight(tmp_path: Path) -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "p.png")

    assert read_image(tmp_path / "p.png", card(1, 5, color="GRAY"))[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_the_shorter_side_is_fitted_and_the_middle_is_cut_out(tmp_path: Path, save_png) -> None:
    # Three vertical thirds; the middle one is all that a square takes from a picture three times as wide as high.
    thirds = np.repeat(np.array([10, 20, 30], np.uint8), 30)[None, :, None].repeat(30, 0).repeat(3, 2)
    path = save_png(tmp_path / "p.png", thirds)

    assert np.unique(read_image(path, card(30, 30))).tolist() == [20]
    tall = read_image(save_png(tmp_path / "t.png", thirds.transpose(1, 0, 2).copy()), card(30, 30))
    assert np.unique(tall).tolist() == [20]


def test_a_picture_enlarges_until_it_covers_a_card_of_another_aspect(tmp_path: Path, save_png) -> None:
    path = save_png(tmp_path / "p.png", np.full((10, 10, 3), 9, np.uint8))

    assert np.array_equal(read_image(path, card(20, 40)), np.full((20, 40, 3), 9, np.uint8))


def test_making_smaller_averages_and_does_not_skip(tmp_path: Path, save_png) -> None:
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)

    small = read_image(save_png(tmp_path / "p.png", board), card(8, 8, color="GRAY"))

    assert np.abs(small.astype(int) - 127.5).max() <= 4


def test_arrays_of_another_size_are_fitted_like_files(tmp_path: Path, save_png, random_pixels) -> None:
    pixels = random_pixels(3, 40, 31, 3)
    square = card(16, 16)

    expected = [read_image(save_png(tmp_path / f"{i}.png", pixels[i]), square) for i in range(3)]

    assert np.array_equal(fit_pixels(pixels, square), np.stack(expected))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_numbers_are_normalised_channel_by_channel(random_pixels, layout: str, dtype: str) -> None:
    pixels = random_pixels(3, 4, 5, 3)
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

    tensor = tensor_from_pixels(pixels, card(4, 5, layout=layout, mean=mean, std=std), dtype)

    expected = (pixels.astype(float) - mean) / std
    expected = expected.transpose(0, 3, 1, 2) if layout == "NCHW" else expected
    assert tensor.dtype == dtype
    assert tensor.flags.c_contiguous
    np.testing.assert_allclose(tensor, expected, atol=2e-3 if dtype == "float16" else 1e-6)


def test_without_mean_and_std_the_bytes_are_the_numbers(random_pixels) -> None:
    pixels = random_pixels(2, 4, 5, 1)

    assert np.array_equal(tensor_from_pixels(pixels, card(4, 5, color="GRAY"), "float32")[:, 0], pixels[..., 0])
    assert np.array_equal(tensor_from_pixels(pixels, card(4, 5, color="GRAY"), "uint8")[:, 0], pixels[..., 0])


def test_one_mean_and_std_stand_for_all_channels(random_pixels) -> None:
    pixels = random_pixels(2, 4, 5, 3)

    tensor = tensor_from_pixels(pixels, card(4, 5, mean=(127.5,), std=(127.5,), layout="NHWC"), "float32")

    np.testing.assert_allclose(tensor, pixels / 127.5 - 1, atol=1e-6)


def test_integer_tensors_are_rounded_and_clipped() -> None:
    pixels = np.array([0, 1, 2, 128, 255], np.uint8).reshape(1, 1, 5, 1)

    assert tensor_from_pixels(pixels, card(1, 5, color="GRAY", mean=(128.0,)), "int8").ravel().tolist() == [-128, -127, -126, 0, 127]
    assert tensor_from_pixels(pixels, card(1, 5, color="GRAY", std=(1.5,)), "uint8").ravel().tolist() == [0, 1, 1, 85, 170]
    assert tensor_from_pixels(pixels, card(1, 5, color="GRAY", std=(0.5,)), "uint8").ravel().tolist() == [0, 2, 4, 255, 255]


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8001, 10_000, 60_000, 2**31 - 1])
def test_a_picture_that_claims_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    (tmp_path / "p.png").write_bytes(png_claiming(side, side))

    with pytest.raises(Rejected, match=r"p\.png") as caught:
        read_image(tmp_path / "p.png", card(8, 8))

    assert caught.value.code == "image-too-large"


def test_a_picture_too_narrow_to_be_fitted_is_refused(tmp_path: Path, save_png) -> None:
    path = save_png(tmp_path / "p.png", np.zeros((30_000, 1, 3), np.uint8))

    with pytest.raises(Rejected) as caught:
        read_image(path, card(224, 224))

    assert caught.value.code == "image-too-large"


def test_a_file_above_the_bound_is_refused(tmp_path: Path, save_png, random_pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 100)
    path = save_png(tmp_path / "p.png", random_pixels(20, 20, 3))

    with pytest.raises(Rejected) as caught:
        read_image(path, card(20, 20))

    assert caught.value.code == "image-too-large"


def test_every_truncation_of_a_picture_is_refused(tmp_path: Path, random_pixels) -> None:
    for name in ("p.png", "p.jpg"):
        Image.fromarray(random_pixels(16, 16, 3)).save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        for length in range(0, len(whole) * 3 // 4, 7):
            (tmp_path / name).write_bytes(whole[:length])
            with pytest.raises(Rejected) as caught:
                read_image(tmp_path / name, card(16, 16))
            assert caught.value.code == "image-unreadable"


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_refused_whatever_their_name(tmp_path: Path, random_pixels, kind: str) -> None:
    Image.fromarray(random_pixels(16, 16, 3)).save(tmp_path / "p.png", kind)

    with pytest.raises(Rejected) as caught:
        read_image(tmp_path / "p.png", card(16, 16))

    assert caught.value.code == "image-unreadable"


def test_a_missing_picture_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"gone\.png"):
        read_image(tmp_path / "gone.png", card(16, 16))


def test_without_pillow_the_next_step_is_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_pillow(name: str, *args: object, **kwargs: object) -> object:
        if name.partition(".")[0] == "PIL":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pillow)

    with pytest.raises(Unfit) as caught:
        read_image(tmp_path / "p.png", card(16, 16))

    assert (caught.value.code, caught.value.next_step) == ("pillow-missing", "pip install 'edgewright[images]'")


def test_pictures_that_fit_need_no_pillow(random_pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> object:
        raise AssertionError

    monkeypatch.setattr(images, "_pillow", missing)

    assert fit_pixels(random_pixels(2, 4, 5, 3), card(4, 5)).shape == (2, 4, 5, 3)
