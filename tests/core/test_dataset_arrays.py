"""Datasets of arrays: an .npz, a folder with one, a folder of .npy files; and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgewright.core.card import InputCard, ModelCard
from edgewright.core.dataset import Dataset, open_dataset
from edgewright.core.errors import Rejected
from edgewright.core.tensors import TensorSpec

CARD = ModelCard()
INPUT = TensorSpec("input", "float32", (None, 2, 3))
MASK = TensorSpec("mask", "int64", (None, 4))
RANDOM = np.random.default_rng(5)
VALUES = RANDOM.normal(size=(10, 2, 3)).astype(np.float32)
MASKS = RANDOM.integers(0, 9, (10, 4))
LABELS = np.arange(10) % 3


def save(path: Path, kind: str, **arrays: np.ndarray) -> Path:
    """The dataset `arrays` in one of the kinds that hold arrays; returns the path to open."""
    if kind == "npz":
        np.savez(path / "data.npz", **arrays)
        return path / "data.npz"
    if kind == "folder-of-npz":
        np.savez_compressed(path / "data.npz", **arrays)
        return path
    for name, values in arrays.items():
        np.save(path / f"{name}.npy", values)
    return path


def refused(path: Path, *inputs: TensorSpec, card: ModelCard = CARD) -> Rejected:
    with pytest.raises(Rejected) as caught:
        list(open_dataset(path, card, inputs or (INPUT,)).batches(4))
    return caught.value


KINDS = pytest.mark.parametrize("kind", ["npz", "folder-of-npz", "npy"])


@KINDS
def test_several_inputs_come_in_order_with_their_labels(tmp_path: Path, kind: str) -> None:
    dataset = open_dataset(save(tmp_path, kind, input=VALUES, mask=MASKS, labels=LABELS), CARD, [INPUT, MASK])

    batches = list(dataset.batches(4))

    assert (dataset.samples, dataset.kind) == (10, kind.removeprefix("folder-of-"))
    assert dataset.labels is not None
    assert dataset.labels.tolist() == LABELS.tolist()
    assert [(batch.start, batch.size) for batch in batches] == [(0, 4), (4, 4), (8, 2)]
    assert np.array_equal(np.concatenate([batch.feeds["input"] for batch in batches]), VALUES)
    assert np.array_equal(np.concatenate([batch.feeds["mask"] for batch in batches]), MASKS)
    assert np.array_equal(np.concatenate([batch.labels for batch in batches]), LABELS)


@KINDS
def test_a_range_of_samples_is_read(tmp_path: Path, kind: str) -> None:
    dataset = open_dataset(save(tmp_path, kind, input=VALUES), CARD, [INPUT])

    batches = list(dataset.batches(2, start=3, stop=6))

    assert [(batch.start, batch.size, batch.labels) for batch in batches] == [(3, 2, None), (5, 1, None)]
    assert np.array_equal(batches[1].feeds["input"], VALUES[5:6])
    assert list(dataset.batches(2, start=9, stop=5)) == []
    assert sum(batch.size for batch in dataset.batches(3, stop=99)) == 10


@KINDS
def test_two_iterations_do_not_disturb_each_other(tmp_path: Path, kind: str) -> None:
    dataset = open_dataset(save(tmp_path, kind, input=VALUES), CARD, [INPUT])

    pairs = list(zip(dataset.batches(3), dataset.batches(3), strict=True))

    assert len(pairs) == 4
    assert all(np.array_equal(a.feeds["input"], b.feeds["input"]) for a, b in pairs)


def test_batches_of_nothing_are_a_fault_of_the_caller(tmp_path: Path) -> None:
    dataset = open_dataset(save(tmp_path, "npz", input=VALUES), CARD, [INPUT])

    with pytest.raises(ValueError, match="batches of 0"):
        next(dataset.batches(0))


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [("float64", "float32"), ("float32", "float16"), ("uint8", "float32"), ("int64", "int32"), ("bool", "float32"), (">f4", "float32")],
)
def test_numbers_are_converted_to_the_model_s_type(tmp_path: Path, stored: str, wanted: str) -> None:
    values = np.arange(12).reshape(2, 2, 3).astype(stored)

    feeds = next(open_dataset(save(tmp_path, "npy", input=values), CARD, [TensorSpec("input", wanted, (1, 2, 3))]).batches(2)).feeds

    assert feeds["input"].dtype == np.dtype(wanted)
    assert feeds["input"].tolist() == values.tolist()


@pytest.mark.parametrize(("stored", "wanted"), [("float32", "int64"), ("int64", "uint8"), ("float64", "bool"), ("int8", "uint16")])
def test_numbers_that_would_lose_their_meaning_are_refused(tmp_path: Path, stored: str, wanted: str) -> None:
    error = refused(save(tmp_path, "npz", input=np.ones((2, 2, 3), stored)), TensorSpec("input", wanted, (None, 2, 3)))

    assert (error.code, error.next_step) == ("dataset-wrong-type", f"Save it as {wanted}")


def test_integers_beyond_the_model_s_type_are_refused_and_the_sample_is_named(tmp_path: Path) -> None:
    values = np.zeros((6, 2, 3), np.int64)
    values[5, 1, 1] = 2**31

    error = refused(save(tmp_path, "npz", input=values), TensorSpec("input", "int32", (None, 2, 3)))

    assert error.code == "dataset-wrong-type"
    assert "sample 5 of 'input'" in error.message


@pytest.mark.parametrize("dtype", ["object", "str", "bfloat16x", "complex64"])
def test_inputs_that_are_no_numbers_are_refused(tmp_path: Path, dtype: str) -> None:
    error = refused(save(tmp_path, "npz", input=VALUES), TensorSpec("input", dtype, (None, 2, 3)))

    assert error.code == "dataset-wrong-type"
    assert dtype in error.message


@KINDS
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_and_the_sample_is_named(tmp_path: Path, kind: str, bad: float) -> None:
    values = VALUES.copy()
    values[7, 1, 2] = bad

    error = refused(save(tmp_path, kind, input=values))

    assert error.code == "dataset-not-finite"
    assert "sample 7 of 'input'" in error.message


def test_a_number_too_large_for_float16_is_refused_and_the_sample_is_named(tmp_path: Path) -> None:
    values = np.zeros((3, 2, 3), np.float32)
    values[2, 0, 0] = 70_000

    error = refused(save(tmp_path, "npz", input=values), TensorSpec("input", "float16", (None, 2, 3)))

    assert error.code == "dataset-not-finite"
    assert "sample 2" in error.message


@KINDS
def test_a_wrong_name_is_refused_with_the_nearest(tmp_path: Path, kind: str) -> None:
    error = refused(save(tmp_path, kind, imput=VALUES, other=VALUES))

    assert error.code == "dataset-wrong-names"
    assert "Did you mean 'imput'?" in error.next_step


def test_an_npz_without_arrays_says_so(tmp_path: Path) -> None:
    error = refused(save(tmp_path, "npz"))

    assert (error.code, error.next_step) == ("dataset-wrong-names", "It holds no arrays; arrays are named as the inputs")


@KINDS
@pytest.mark.parametrize("shape", [(10, 3, 2), (10, 2), (10, 2, 3, 1), (10,)])
def test_a_wrong_shape_is_refused_and_both_are_named(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    error = refused(save(tmp_path, kind, input=np.zeros(shape, np.float32)))

    assert error.code == "dataset-wrong-shape"
    assert "2x3" in error.message


def test_a_dynamic_axis_takes_any_size_but_zero(tmp_path: Path) -> None:
    spec = TensorSpec("input", "float32", (None, 2, None))
    path = save(tmp_path, "npz", input=np.zeros((4, 2, 9), np.float32))

    assert open_dataset(path, CARD, [spec]).samples == 4
    assert refused(save(tmp_path, "npz", input=np.zeros((4, 2, 0), np.float32)), spec).code == "dataset-wrong-shape"


@KINDS
def test_no_samples_are_refused(tmp_path: Path, kind: str) -> None:
    assert refused(save(tmp_path, kind, input=VALUES[:0])).code == "dataset-empty"


@KINDS
def test_different_numbers_of_samples_are_refused(tmp_path: Path, kind: str) -> None:
    error = refused(save(tmp_path, kind, input=VALUES, mask=MASKS[:9]), INPUT, MASK)

    assert error.code == "dataset-wrong-count"
    assert "10 of 'input', 9 of 'mask'" in error.message


@KINDS
@pytest.mark.parametrize("labels", [LABELS[:9], LABELS.astype(np.float32), LABELS[:, None], LABELS - 1, np.array(3)], ids=str)
def test_labels_that_do_not_match_are_refused(tmp_path: Path, kind: str, labels: np.ndarray) -> None:
    error = refused(save(tmp_path, kind, input=VALUES, labels=labels))

    assert error.code == ("dataset-unreadable" if labels.ndim == 0 else "dataset-wrong-labels")


def test_an_input_called_labels_is_an_input(tmp_path: Path) -> None:
    dataset = open_dataset(save(tmp_path, "npz", labels=VALUES), CARD, [TensorSpec("labels", "float32", (None, 2, 3))])

    assert dataset.labels is None
    assert np.array_equal(next(dataset.batches(10)).feeds["labels"], VALUES)


def test_names_with_slashes_and_colons_are_members_like_others(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", **{"serving/input:0": VALUES})

    dataset = open_dataset(tmp_path / "data.npz", CARD, [TensorSpec("serving/input:0", "float32", (None, 2, 3))])

    assert dataset.samples == 10


def test_arrays_beside_the_inputs_are_not_even_opened(tmp_path: Path) -> None:
    save(tmp_path, "npy", input=VALUES)
    (tmp_path / "notes.npy").write_bytes(b"not an array")

    assert open_dataset(tmp_path, CARD, [INPUT]).samples == 10


def test_two_npz_in_a_folder_are_one_too_many(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", input=VALUES)
    np.savez(tmp_path / "b.npz", input=VALUES)

    error = refused(tmp_path)

    assert error.code == "dataset-wrong-count"
    assert "a.npz, b.npz" in error.message


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "missing").code == "dataset-missing"
    assert refused(tmp_path / "missing.npz").code == "dataset-missing"


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path).code == "dataset-empty"


def test_a_single_npy_is_refused_and_its_folder_is_offered(tmp_path: Path) -> None:
    save(tmp_path, "npy", input=VALUES)

    error = refused(tmp_path / "input.npy")

    assert error.code == "dataset-unreadable"
    assert str(tmp_path) in error.next_step


# --- pictures in arrays -----------------------------------------------------------------------------------------------------------------

PICTURE = TensorSpec("input", "float32", (None, 3, 8, 8))
PICTURE_CARD = ModelCard(inputs={"input": InputCard(kind="image", size=(8, 8), mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 5.0))})


def first_feed(dataset: Dataset) -> np.ndarray:
    return next(dataset.batches(64)).feeds["input"]


@KINDS
def test_bytes_for_an_image_input_go_through_the_card(tmp_path: Path, kind: str, random_pixels) -> None:
    pixels = random_pixels(5, 8, 8, 3)
    expected = ((pixels.astype(float) - (10, 20, 30)) / (2, 4, 5)).transpose(0, 3, 1, 2)

    found = first_feed(open_dataset(save(tmp_path, kind, input=pixels), PICTURE_CARD, [PICTURE]))

    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_bytes_of_another_size_are_fitted(tmp_path: Path) -> None:
    pytest.importorskip("PIL.Image", reason="pictures need Pillow: pip install 'edgewright[images]'")
    pixels = np.full((2, 30, 20, 3), 50, np.uint8)

    found = first_feed(open_dataset(save(tmp_path, "npz", input=pixels), PICTURE_CARD, [PICTURE]))

    assert found.shape == (2, 3, 8, 8)
    assert np.unique(found[:, 0]).tolist() == [20.0]


def test_floats_for_an_image_input_are_fed_as_they_are(tmp_path: Path) -> None:
    values = RANDOM.normal(size=(2, 3, 8, 8)).astype(np.float32)

    assert np.array_equal(first_feed(open_dataset(save(tmp_path, "npz", input=values), PICTURE_CARD, [PICTURE])), values)


def test_bytes_for_an_array_input_are_fed_as_they_are(tmp_path: Path, random_pixels) -> None:
    pixels = random_pixels(2, 3, 8, 8)

    assert np.array_equal(first_feed(open_dataset(save(tmp_path, "npz", input=pixels), CARD, [PICTURE])), pixels)


def test_a_uint8_tensor_takes_pictures_and_ready_arrays(tmp_path: Path, random_pixels) -> None:
    spec = TensorSpec("input", "uint8", (None, 3, 8, 8))
    card = ModelCard(inputs={"input": InputCard(kind="image", size=(8, 8))})
    ready = random_pixels(2, 3, 8, 8)

    assert np.array_equal(first_feed(open_dataset(save(tmp_path, "npz", input=ready), card, [spec])), ready)
    pictures = ready.transpose(0, 2, 3, 1).copy()
    assert np.array_equal(first_feed(open_dataset(save(tmp_path, "npz", input=pictures), card, [spec])), ready)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 8, 8, 4), (2, 8, 8, 2), (2, 0, 8, 3), (2, 8, 0, 3)])
def test_bytes_that_are_no_pictures_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    error = refused(save(tmp_path, "npz", input=np.zeros(shape, np.uint8)), PICTURE, card=PICTURE_CARD)

    assert error.code == "dataset-wrong-shape"
