"""The demo's data and model: reproducible, balanced, readable by the dataset reader, and neither trivial nor hopeless for the classifier."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from edgewright.cli.demo import surface
from edgewright.cli.demo.surface import CLASSES, SIZE, surfaces, write_dataset
from edgewright.core.card import card_beside
from edgewright.core.dataset import open_dataset
from edgewright.core.tensors import TensorSpec

MODEL = Path(surface.__file__).with_name("surface_classifier.onnx")
SEED = 20_240  # the classifier was trained on seed 7
COUNT = 400


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("surfaces") / "unseen.npz"
    write_dataset(path, COUNT, SEED, "input")
    return path


def test_images_are_rgb_bytes_and_labels_are_integers() -> None:
    images, labels = surfaces(3, seed=1)

    assert ((3, SIZE, SIZE, 3), np.dtype(np.uint8)) == (images.shape, images.dtype)
    assert ((3,), np.dtype(np.int64)) == (labels.shape, labels.dtype)


def test_there_may_be_no_images() -> None:
    images, labels = surfaces(0, seed=1)

    assert (images.shape, labels.shape) == ((0, SIZE, SIZE, 3), (0,))


def test_the_same_seed_draws_the_same_images() -> None:
    first, second = surfaces(24, seed=5), surfaces(24, seed=5)

    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_another_seed_draws_other_images() -> None:
    assert not np.array_equal(surfaces(8, seed=5)[0], surfaces(8, seed=6)[0])


def test_a_longer_run_begins_with_the_shorter_one() -> None:
    np.testing.assert_array_equal(surfaces(5, seed=3)[0], surfaces(11, seed=3)[0][:5])


def test_no_two_images_of_a_set_are_equal() -> None:
    images, _ = surfaces(64, seed=2)

    assert len({hashlib.sha256(image.tobytes()).digest() for image in images}) == len(images)


@pytest.mark.parametrize("count", [8, 13, 40])
def test_classes_are_balanced_within_one(count: int) -> None:
    _, labels = surfaces(count, seed=4)
    per_class = np.bincount(labels, minlength=len(CLASSES))

    assert per_class.max() - per_class.min() <= 1


def test_every_class_has_a_name_of_its_own() -> None:
    assert len(CLASSES) == len(set(CLASSES))


def test_equal_arguments_write_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write_dataset(tmp_path / name, 4, 9, "input")

    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("name", ["input", "pictures", "file", "allow_pickle"])
def test_a_dataset_holds_the_named_input_and_labels(tmp_path: Path, name: str) -> None:
    path = tmp_path / "set.npz"
    write_dataset(path, 10, 9, name)
    images, labels = surfaces(10, seed=9)

    with np.load(path, allow_pickle=False) as arrays:
        assert {name, "labels"} == set(arrays.files)
        np.testing.assert_array_equal(arrays[name], images)
        np.testing.assert_array_equal(arrays["labels"], labels)


def test_the_model_is_one_small_file_that_older_runtimes_read() -> None:
    model = onnx.load(MODEL, load_external_data=False)

    assert model.ir_version <= 9
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)
    assert MODEL.stat().st_size < 3_000_000


def test_the_classifier_is_good_but_not_perfect_on_unseen_images(unseen: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
    spec = TensorSpec("input", "float32", (None, 3, SIZE, SIZE))
    hits = 0
    for batch in open_dataset(unseen, card_beside(MODEL), [spec]).batches(50):
        (logits,) = session.run(["logits"], batch.feeds)
        hits += int((logits.argmax(1) == batch.labels).sum())

    assert 0.90 < hits / COUNT < 0.99
