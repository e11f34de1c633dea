"""A file is filled with the pieces that others have; what is missing stays missing."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest
from edgewright.core.delta.recipe import MAGIC, decode_recipe, encode_recipe, fill
from edgewright.core.errors import Rejected
from hypothesis import given
from hypothesis import strategies as st

DATA = random.Random(4).randbytes(500_000)


def test_pieces_of_several_files_come_together(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(DATA)
    (tmp_path / "one").write_bytes(b"before" + DATA[:200_000])
    (tmp_path / "two").write_bytes(DATA[300_000:] + b"after")
    recipe = encode_recipe(tmp_path / "target")
    filled = fill(tmp_path / "made", recipe, [tmp_path / "one", tmp_path / "two"], len(DATA))
    made = (tmp_path / "made").read_bytes().ljust(len(DATA), b"\0")

    assert 0.7 * len(DATA) < filled <= 0.8 * len(DATA)
    assert sum(a == b for a, b in zip(made, DATA, strict=True)) >= filled
    assert len(recipe) < 0.01 * len(DATA)


def test_a_piece_that_comes_again_is_written_everywhere(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(DATA[:100_000] * 3)
    (tmp_path / "source").write_bytes(DATA[:100_000])
    filled = fill(tmp_path / "made", encode_recipe(tmp_path / "target"), [tmp_path / "source"], 300_000)

    assert filled > 200_000


@pytest.mark.parametrize("data", [b"", b"EWR\x02", MAGIC + b"x", MAGIC + bytes(20), MAGIC + bytes(16) + (1 << 20).to_bytes(4, "little")])
def test_a_recipe_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        decode_recipe(data)

    assert caught.value.code == "recipe-malformed"


def test_a_recipe_of_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(DATA)
    with pytest.raises(Rejected):
        fill(tmp_path / "made", encode_recipe(tmp_path / "target"), [], len(DATA) + 1)


@given(st.binary(max_size=100))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for bad in (data, MAGIC + data):
        with contextlib.suppress(Rejected):
            decode_recipe(bad)
