"""Datasets of pictures: with images/ or flat, with labels or without; and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from edgewright.core.card import InputCard, ModelCard
from edgewright.core.dataset import open_dataset
from edgewright.core.errors import Rejected
from edgewright.core.tensors import TensorSpec

pytest.importorskip("PIL.Image", reason="pictures need Pillow: pip install 'edgewright[images]'")

CARD = ModelCard(inputs={"input": InputCard(kind="image", size=(8, 8))})
INPUT = TensorSpec("input", "float32", (None, 3, 8, 8))


@pytest.fixture(params=["images", "."])
def folder(request: pytest.FixtureRequest, tmp_path: Path, save_png: Callable[[Path, np.ndarray], Path]) -> Path:
    """Six pictures, number i all of value i, written in another order; in images/ and flat."""
    for value in (3, 0, 5, 1, 4, 2):
        save_png(tmp_path / request.param / f"p{value}.png", np.full((8, 8, 3), value, np.uint8))
    return tmp_path


def values_of(path: Path, card: ModelCard = CARD) -> list[int]:
    return [int(value) for batch in open_dataset(path, card, [INPUT]).batches(4) for value in batch.feeds["input"][:, 0, 0, 0]]


def refused(path: Path, card: ModelCard = CARD, *inputs: TensorSpec) -> Rejected:
    with pytest.raises(Rejected) as caught:
        list(open_dataset(path, card, inputs or (INPUT,)).batches(4))
    return caught.value


def test_without_labels_pictures_come_sorted_by_name(folder: Path) -> None:
    dataset = open_dataset(folder, CARD, [INPUT])

    assert (dataset.kind, dataset.samples, dataset.labels) == ("images", 6, None)
    assert values_of(folder) == [0, 1, 2, 3, 4, 5]


def test_with_labels_pictures_come_in_their_order(folder: Path) -> None:
    (folder / "labels.csv").write_text('file,label,name\np4.png,7,"a, b"\np0.png,0,c\np2.png,7,\n')

    batches = list(open_dataset(folder, CARD, [INPUT]).batches(2))

    assert values_of(folder) == [4, 0, 2]
    assert [batch.labels.tolist() for batch in batches] == [[7, 0], [7]]


@pytest.mark.parametrize("text", ["p1.png,3\n", "\ufefffile,label\r\np1.png,3\r\n", "File, Label\n p1.png , 3 \n\n", "p1.png,3"])
def test_labels_may_come_from_a_spreadsheet_or_without_heading(folder: Path, text: str) -> None:
    (folder / "labels.csv").write_bytes(text.encode())

    assert open_dataset(folder, CARD, [INPUT]).labels.tolist() == [3]


def test_labels_may_lie_beside_the_pictures(folder: Path) -> None:
    place = folder / "images" if (folder / "images").is_dir() else folder
    (place / "labels.csv").write_text("p5.png,1\n")

    assert values_of(folder) == [5]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\np1.png\n", "line 2 has no label"),
        ("file,label\np1.png,cat\n", "line 2 has the label 'cat'"),
        ("p1.png,-1\n", "label '-1'"),
        ("p1.png,1.0\n", "label '1.0'"),
        ("p1.png,\n", "label ''"),
        ("p1.png,٣\n", "label '٣'"),
        ("p1.png,99999999999999999999\n", "line 1"),
        ("../p1.png,1\n", "line 1 does not name a file"),
        ("images/p1.png,1\n", "line 1 does not name a file"),
        ("/etc/passwd,1\n", "line 1 does not name a file"),
        ("..,1\n", "line 1 does not name a file"),
        (",1\n", "line 1 does not name a file"),
        ("p1.png,1\np9.png,1\n", "'p9.png'"),
    ],
)
def test_a_line_that_does_not_fit_is_refused_by_its_number(folder: Path, text: str, words: str) -> None:
    (folder / "labels.csv").write_text(text, encoding="utf-8")

    error = refused(folder)

    assert error.code == "dataset-wrong-labels"
    assert words in error.message


def test_a_missing_picture_suggests_the_nearest(folder: Path) -> None:
    (folder / "labels.csv").write_text("p1.pgn,1\n")

    assert refused(folder).next_step == "Did you mean 'p1.png'?"


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b'"' + b"x" * 200_000, b"p1.png,1\0\n"])
def test_labels_that_are_no_text_are_refused(folder: Path, data: bytes) -> None:
    (folder / "labels.csv").write_bytes(data)

    assert refused(folder).code == "dataset-wrong-labels"


@pytest.mark.parametrize("text", ["", "file,label\n", "\n\n"])
def test_labels_without_lines_are_an_empty_dataset(folder: Path, text: str) -> None:
    (folder / "labels.csv").write_text(text)

    assert refused(folder).code == "dataset-empty"


def test_labels_larger_than_the_bound_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewright.core.labels.MAX_LABELS_BYTES", 10)
    (folder / "labels.csv").write_text("p1.png,1\np2.png,1\n")

    assert refused(folder).code == "dataset-wrong-labels"


def test_hidden_files_and_other_files_are_no_pictures(folder: Path) -> None:
    place = folder / "images" if (folder / "images").is_dir() else folder
    (place / "._p0.png").write_bytes(b"resource fork")
    (place / "readme.txt").write_bytes(b"")

    assert values_of(folder) == [0, 1, 2, 3, 4, 5]


def test_a_broken_picture_is_refused_by_name_when_its_batch_is_read(folder: Path) -> None:
    place = folder / "images" if (folder / "images").is_dir() else folder
    (place / "p5.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    batches = open_dataset(folder, CARD, [INPUT]).batches(4)

    assert next(batches).size == 4
    with pytest.raises(Rejected, match=r"p5\.png") as caught:
        next(batches)
    assert caught.value.code == "image-unreadable"


def test_pictures_without_a_card_are_refused_and_the_line_to_write_is_given(folder: Path) -> None:
    error = refused(folder, ModelCard())

    assert error.code == "dataset-wrong-type"
    assert '[inputs.input] kind = "image"' in error.next_step


def test_pictures_for_a_model_of_two_inputs_are_refused(folder: Path) -> None:
    assert refused(folder, CARD, INPUT, TensorSpec("mask", "float32", (None, 1))).code == "dataset-wrong-names"


def test_an_empty_images_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()

    assert refused(tmp_path).code == "dataset-empty"


def test_an_iteration_that_is_dropped_ends_its_decoders(folder: Path) -> None:
    import threading

    batches = open_dataset(folder, CARD, [INPUT]).batches(2)
    next(batches)
    batches.close()

    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decoder")]


def test_a_uint8_tensor_gets_the_bytes(folder: Path) -> None:
    spec = TensorSpec("input", "uint8", (None, 3, 8, 8))

    feed = next(open_dataset(folder, CARD, [spec]).batches(6)).feeds["input"]

    assert (feed.dtype, feed[:, 2, 7, 7].tolist()) == (np.uint8, [0, 1, 2, 3, 4, 5])


def test_a_folder_that_may_not_be_read_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_self: Path) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", forbidden)

    assert refused(folder).code == "dataset-unreadable"
