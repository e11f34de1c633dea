"""What is packed is read back with the device's own reader, and must give what the original dataset gives."""

from __future__ import annotations

import errno
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgewright.controller import packing
from edgewright.controller.blobs import BlobStore
from edgewright.controller.packing import pack_dataset, pack_model
from edgewright.core.artifact import MAX_FILES, Artifact, check_artifact
from edgewright.core.card import card_beside
from edgewright.core.dataset import open_dataset
from edgewright.core.errors import Rejected, Unfit
from edgewright.core.tensors import TensorSpec

CARD = """
[inputs.input]
kind = "image"
color = "{color}"
layout = "{layout}"
size = [8, 10]
mean = {mean}
std = {std}
"""
SAMPLES = 5


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    folder = tmp_path / "blobs"
    folder.mkdir()
    return BlobStore(folder)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "source" / "My Model.onnx"
    path.parent.mkdir()
    path.write_bytes(b"no model, but sent")
    return path


def unpack(store: BlobStore, artifact: Artifact, folder: Path) -> Path:
    """Lay the files out as a device does."""
    folder.mkdir()
    for name, blob in check_artifact(artifact).files.items():
        shutil.copyfile(store.path(blob.digest), folder / name)  # onnx takes no external data with a second hard link
    return folder


def refusal(call: Callable[[], object]) -> Rejected:
    with pytest.raises(Rejected) as refused:
        call()
    return refused.value


def card(model: Path, color: str, layout: str = "NCHW") -> TensorSpec:
    """Write a card; returns the tensor that it fits."""
    channels = 1 if color == "GRAY" else 3
    mean, std = [10.0 * (number + 1) for number in range(channels)], [50.0 + number for number in range(channels)]
    model.with_suffix(".toml").write_text(CARD.format(color=color, layout=layout, mean=mean, std=std), encoding="utf-8")
    shape = (None, channels, 8, 10) if layout == "NCHW" else (None, 8, 10, channels)
    return TensorSpec("input", "float32", shape)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    pillow = pytest.importorskip("PIL.Image", reason="pictures need Pillow: pip install 'edgewright[images]'")
    folder = tmp_path / "dataset"
    (folder / "images").mkdir(parents=True)
    random = np.random.default_rng(3)
    for number in range(SAMPLES):
        pixels = random.integers(0, 256, (12 + number, 20, 3), np.uint8)
        pillow.fromarray(pixels).save(folder / "images" / f"{number}.png")
    return folder


def samples(dataset: Path, model: Path, spec: TensorSpec) -> tuple[Any, Any]:
    (batch,) = open_dataset(dataset, card_beside(model), (spec,)).batches(SAMPLES + 1)
    return batch.feeds["input"], batch.labels


@pytest.mark.parametrize("color", ["RGB", "BGR", "GRAY"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_packed_pictures_are_the_same_tensors_on_the_device(
    store: BlobStore, model: Path, pictures: Path, tmp_path: Path, color: str, layout: str
) -> None:
    spec = card(model, color, layout)
    expected, _ = samples(pictures, model, spec)
    packed, labels = samples(unpack(store, pack_dataset(store, pictures, model), tmp_path / "device"), model, spec)

    assert packed.shape[0] == SAMPLES
    np.testing.assert_array_equal(packed, expected)
    assert labels is None


def test_labels_travel_with_their_pictures_in_their_order(store: BlobStore, model: Path, pictures: Path, tmp_path: Path) -> None:
    (pictures / "labels.csv").write_text("file,label\n4.png,7\n0.png,2\n", encoding="utf-8")
    spec = card(model, "RGB")
    expected, _ = samples(pictures, model, spec)
    packed, labels = samples(unpack(store, pack_dataset(store, pictures, model), tmp_path / "device"), model, spec)

    np.testing.assert_array_equal(packed, expected)
    assert labels is not None
    assert labels.tolist() == [7, 2]


def test_the_same_pictures_are_the_same_blob_every_time(store: BlobStore, model: Path, pictures: Path) -> None:
    card(model, "RGB")
    first = pack_dataset(store, pictures, model)
    os.utime(pictures / "images" / "0.png", (1, 1))

    assert pack_dataset(store, pictures, model) == first


def test_a_broken_picture_is_refused_and_leaves_nothing(store: BlobStore, model: Path, pictures: Path) -> None:
    card(model, "RGB")
    (pictures / "images" / "3.png").write_bytes(b"no picture")

    assert refusal(lambda: pack_dataset(store, pictures, model)).code == "image-unreadable"
    assert list(store.path("x").parent.iterdir()) == []


def test_pictures_need_a_card(store: BlobStore, model: Path, pictures: Path) -> None:
    refused = refusal(lambda: pack_dataset(store, pictures, model))

    assert refused.code == "dataset-wrong-type"
    assert "card" in refused.next_step


def test_a_full_disk_while_packing_is_told_and_leaves_nothing(store: BlobStore, model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    card(model, "RGB")
    monkeypatch.setattr(packing.np.lib.format, "write_array_header_1_0", full)
    with pytest.raises(Unfit) as unfit:
        pack_dataset(store, pictures, model)

    assert unfit.value.code == "disk-full"
    assert list(store.path("x").parent.iterdir()) == []


def test_an_archive_travels_as_it_is(store: BlobStore, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, input=np.zeros((2, 3), np.float32))
    artifact = pack_dataset(store, path, model)

    assert list(artifact.files) == ["samples.npz"]
    assert store.path(artifact.files["samples.npz"].digest).read_bytes() == path.read_bytes()
    (tmp_path / "folder").mkdir()
    path.rename(tmp_path / "folder" / "data.npz")
    assert pack_dataset(store, tmp_path / "folder", model) == artifact


def test_arrays_travel_as_they_are_without_hidden_files(store: BlobStore, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "arrays"
    folder.mkdir()
    for name in ("input.npy", "labels.npy", "._input.npy"):
        np.save(folder / name, np.zeros((2, 3), np.float32))

    assert sorted(pack_dataset(store, folder, model).files) == ["input.npy", "labels.npy"]


def test_arrays_whose_names_files_may_not_have_travel_in_an_archive(store: BlobStore, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "arrays"
    folder.mkdir()
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.save(folder / "Input:0.npy", values)
    first, second = pack_dataset(store, folder, model), pack_dataset(store, folder, model)

    assert first == second
    assert list(first.files) == ["samples.npz"]
    with np.load(store.path(first.files["samples.npz"].digest)) as archive:
        np.testing.assert_array_equal(archive["Input:0"], values)
    with zipfile.ZipFile(store.path(first.files["samples.npz"].digest)) as archive:
        assert archive.testzip() is None


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda _folder: None, "dataset-missing"),
        (lambda folder: folder.mkdir(), "dataset-empty"),
        (lambda folder: (folder.mkdir(), (folder / "a.npz").touch(), (folder / "b.npz").touch()), "dataset-wrong-count"),
    ],
    ids=["absent", "empty", "two archives"],
)
def test_what_is_no_dataset_is_refused(store: BlobStore, model: Path, tmp_path: Path, make: Callable[[Path], object], code: str) -> None:
    card(model, "RGB")
    make(tmp_path / "dataset")

    assert refusal(lambda: pack_dataset(store, tmp_path / "dataset", model)).code == code


@pytest.mark.parametrize("name", ["input.npy", "picture.png", "PICTURE.JPG"])
def test_a_single_array_or_picture_is_no_dataset(store: BlobStore, model: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")

    assert refusal(lambda: pack_dataset(store, tmp_path / name, model)).code == "dataset-unreadable"


# --- models ---


def test_a_model_travels_under_one_name_with_its_card(store: BlobStore, model: Path) -> None:
    assert list(pack_model(store, model).files) == ["model.onnx"]
    card(model, "RGB")
    artifact = pack_model(store, model)

    assert list(artifact.files) == ["model.onnx", "model.toml"]
    assert store.path(artifact.files["model.onnx"].digest).read_bytes() == model.read_bytes()


def test_a_card_that_cannot_be_read_is_refused_here(store: BlobStore, model: Path) -> None:
    model.with_suffix(".toml").write_text("[inputs.input]\nkind = 'video'\n", encoding="utf-8")

    assert refusal(lambda: pack_model(store, model)).code == "card-bad-value"


def test_a_split_model_travels_whole_and_can_be_loaded_on_the_device(store: BlobStore, tiny_classifier: Path, tmp_path: Path) -> None:
    source = tmp_path / "split"
    source.mkdir()
    onnx.save(onnx.load(str(tiny_classifier)), str(source / "big.onnx"), save_as_external_data=True, location="big.data", size_threshold=0)
    device = unpack(store, pack_model(store, source / "big.onnx"), tmp_path / "device")
    ours, theirs = onnx.load(str(device / "model.onnx")), onnx.load(str(tiny_classifier))

    assert sorted(path.name for path in device.iterdir()) == ["big.data", "model.onnx"]
    for one, other in zip(ours.graph.initializer, theirs.graph.initializer, strict=True):
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(one), onnx.numpy_helper.to_array(other))


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "Weights.bin", "a/b", "model.onnx", "", ".", "..", ".hidden", "x" * 129])
def test_external_data_of_a_name_that_cannot_be_sent_is_refused(store: BlobStore, models: Any, model: Path, location: str) -> None:
    split = models.classifier()
    tensor = split.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    model.write_bytes(split.SerializeToString())
    refused = refusal(lambda: pack_model(store, model))

    assert refused.code == "external-data-name"
    assert list(store.path("x").parent.iterdir()) == []


def test_external_data_that_is_not_there_is_told(store: BlobStore, models: Any, model: Path) -> None:
    split = models.classifier()
    split.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    split.graph.initializer[0].external_data.add(key="location", value="gone.bin")
    model.write_bytes(split.SerializeToString())
    refused = refusal(lambda: pack_model(store, model))

    assert refused.code == "file-unreadable"
    assert "gone.bin" in refused.message


def test_a_model_in_too_many_files_is_told_how_to_be_one(store: BlobStore, models: Any, model: Path) -> None:
    split = models.classifier()
    for number in range(MAX_FILES):
        tensor = split.graph.initializer.add(name=f"t{number}", data_type=1, data_location=onnx.TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=f"f{number}")
    model.write_bytes(split.SerializeToString())
    refused = refusal(lambda: pack_model(store, model))

    assert refused.code == "external-data-name"
    assert "all_tensors_to_one_file" in refused.next_step


def test_a_model_that_is_not_there_is_told(store: BlobStore, tmp_path: Path) -> None:
    assert refusal(lambda: pack_model(store, tmp_path / "gone.onnx")).code == "model-missing"
