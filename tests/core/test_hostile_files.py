"""Whatever bytes a file holds, reading it ends in values or in an error of ours: random bytes, and small changes to good files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from edgewright.core.budget import budget_from_toml, judge
from edgewright.core.card import InputCard, ModelCard, card_beside, card_from_toml, check_card
from edgewright.core.dataset import open_dataset
from edgewright.core.errors import EdgewrightError
from edgewright.core.measurement import Candidate
from edgewright.core.tensors import TensorSpec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FREE = TensorSpec("input", "float32", (None, None))
PICTURE = TensorSpec("input", "float32", (None, 3, 4, 4))
CANDIDATE = Candidate(name="c", backend="b", path="p", size_bytes=1, latency_ms=None, energy_mj=None, fidelity=None)
PICTURE_CARD = ModelCard(inputs={"input": InputCard(kind="image", size=(4, 4))})
ROUNDS = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(12, dtype=np.float32).reshape(4, 3))
    return buffer.getvalue()


def npz(save: Callable[..., None]) -> bytes:
    buffer = io.BytesIO()
    save(buffer, input=np.arange(12, dtype=np.float32).reshape(4, 3), labels=np.arange(4))
    return buffer.getvalue()


CARD_TEXT = b"""[inputs.input]
kind = "image"
color = "RGB"
layout = "NCHW"
size = [4, 4]
mean = [1.0, 2, 3]
std = [1.0, 2, 3]
shape_min = [1, 3, 4, 4]
shape_opt = [1, 3, 4, 4]
shape_max = [8, 3, 4, 4]
[task]
kind = "classification"
output = "logits"
"""
LABELS_TEXT = b'file,label,name\na.png,0,"first, one"\nb.png,1,second\n'
BUDGET_TEXT = b'max_top1_drop = 0.015\nmax_size_bytes = 5000\non_unmeasured = "allow"\n'


def changed(good: bytes) -> st.SearchStrategy[bytes]:
    """`good` with up to six bytes replaced, inserted or removed, or cut, or something else altogether."""
    edit = st.tuples(st.integers(0, len(good)), st.integers(0, 3), st.binary(max_size=4))

    def apply(edits: list[tuple[int, int, bytes]]) -> bytes:
        data = bytearray(good)
        for position, removed, added in edits:
            data[position : position + removed] = added
        return bytes(data)

    # Text that stays nearly right reaches deeper than random bytes do.
    words = st.sampled_from([b"9" * 30, b"-1", b"nan", b"inf", b"1e400", b"[", b"{", b"'", b'"', b"\0", b"\xff", b"\n", b"0", b"99999999999"])
    worded = st.tuples(st.integers(0, len(good)), st.integers(0, 3), words)
    return st.one_of(
        st.lists(edit, max_size=6).map(apply),
        st.lists(worded, min_size=1, max_size=3).map(apply),
        st.integers(0, len(good)).map(lambda length: good[:length]),
        st.binary(max_size=200),
    )


def check_outcome(action: Callable[[], object], code: str = "") -> None:
    """`action` succeeds, or is stopped by an error of ours that says what to do."""
    error: EdgewrightError | None = None
    try:
        action()
    except EdgewrightError as caught:
        error = caught
    assert error is None or (error.code.startswith(code) and error.code and error.message and error.next_step)


def read_all(path: Path, card: ModelCard, spec: TensorSpec) -> None:
    """Open and read the dataset; only our own errors are allowed to stop it."""

    def read() -> None:
        dataset = open_dataset(path, card, [spec])
        if dataset.samples > 1000:
            return
        for batch in dataset.batches(3):
            assert batch.feeds["input"].dtype == spec.dtype
            assert np.isfinite(batch.feeds["input"]).all()
            assert batch.labels is None or len(batch.labels) == batch.size

    check_outcome(read)


@given(data=changed(npy()))
@ROUNDS
def test_no_npy_raises_anything_but_our_errors(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "input.npy").write_bytes(data)

    read_all(tmp_path, ModelCard(), FREE)


@given(data=st.one_of(changed(npz(np.savez)), changed(npz(np.savez_compressed))))
@ROUNDS
def test_no_npz_raises_anything_but_our_errors(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "data.npz").write_bytes(data)

    read_all(tmp_path / "data.npz", ModelCard(), FREE)


@given(member=changed(npy()), labels=changed(npy()))
@ROUNDS
def test_no_member_of_a_good_archive_raises_anything_but_our_errors(tmp_path: Path, member: bytes, labels: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("input.npy", member)
        archive.writestr("labels.npy", labels)

    read_all(tmp_path / "data.npz", ModelCard(), FREE)


@given(header=st.text(max_size=80), version=st.integers(0, 255))
@ROUNDS
def test_no_header_raises_anything_but_our_errors(tmp_path: Path, header: str, version: int) -> None:
    text = header.encode("utf-8", "replace")
    (tmp_path / "input.npy").write_bytes(b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2, "little") + text + bytes(64))

    read_all(tmp_path, ModelCard(), FREE)


@given(data=changed(LABELS_TEXT))
@ROUNDS
def test_no_labels_raise_anything_but_our_errors(tmp_path: Path, save_png, data: bytes) -> None:
    for name in ("a.png", "b.png"):
        if not (tmp_path / name).exists():
            save_png(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "labels.csv").write_bytes(data)

    read_all(tmp_path, PICTURE_CARD, PICTURE)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_no_picture_raises_anything_but_our_errors(tmp_path: Path, kind: str) -> None:
    image = pytest.importorskip("PIL.Image", reason="pictures need Pillow: pip install 'edgewright[images]'")
    buffer = io.BytesIO()
    image.fromarray(np.random.default_rng(1).integers(0, 256, (5, 6, 3), np.uint8)).save(buffer, kind)

    @given(data=changed(buffer.getvalue()))
    @ROUNDS
    def check(data: bytes) -> None:
        (tmp_path / "a.png").write_bytes(data)
        read_all(tmp_path, PICTURE_CARD, PICTURE)

    check()


@given(data=changed(CARD_TEXT))
@ROUNDS
def test_no_card_raises_anything_but_our_errors(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.toml").write_bytes(data)
    outputs = [TensorSpec("logits", "float32", (None, 10))]

    check_outcome(lambda: check_card(card_beside(tmp_path / "model.onnx"), [PICTURE], outputs), "card-")


@given(data=changed(BUDGET_TEXT))
@ROUNDS
def test_no_budget_raises_anything_but_our_errors(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "budget.toml").write_bytes(data)

    check_outcome(lambda: judge(CANDIDATE, budget_from_toml(tmp_path / "budget.toml")), "budget-")


def test_the_unchanged_files_are_good(tmp_path: Path) -> None:
    """Without this, a reader that refuses everything would pass all of the above."""
    (tmp_path / "input.npy").write_bytes(npy())
    (tmp_path / "model.toml").write_bytes(CARD_TEXT)
    (tmp_path / "budget.toml").write_bytes(BUDGET_TEXT)
    (tmp_path / "data.npz").write_bytes(npz(np.savez))

    assert open_dataset(tmp_path, ModelCard(), [FREE]).samples == 4
    assert open_dataset(tmp_path / "data.npz", ModelCard(), [FREE]).samples == 4
    assert card_from_toml(tmp_path / "model.toml").task.output == "logits"
    assert budget_from_toml(tmp_path / "budget.toml").max_size_bytes == 5000
