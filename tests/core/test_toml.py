"""TOML that a person wrote: bounded, and every fault names the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgewright.core.errors import Rejected
from edgewright.core.toml import MAX_TOML_BYTES, decode_toml


def test_a_table_is_read(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text('a = 1\n[t]\nname = "ü"\n', encoding="utf-8")

    assert decode_toml(tmp_path / "b.toml", what="budget") == {"a": 1, "t": {"name": "ü"}}


@pytest.mark.parametrize(
    "data",
    [
        b"a = ",
        b"\xff\xfe",
        b"\x00",
        b"a = 1\na = 2\n",
        b"a = " + b"1" * 5000,
        b"a = " + b"[" * 5000,
        b"d = 2020-13-45",
        b"#" * (MAX_TOML_BYTES + 1),
    ],
    ids=["cut", "not-utf8", "nul", "twice", "endless-number", "deep", "no-date", "too-large"],
)
def test_what_is_not_toml_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "b.toml").write_bytes(data)

    with pytest.raises(Rejected, match=r"b\.toml") as caught:
        decode_toml(tmp_path / "b.toml", what="budget")

    assert caught.value.code == "budget-unreadable"


def test_a_file_of_exactly_the_bound_is_read(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_bytes(b"#" * MAX_TOML_BYTES)

    assert decode_toml(tmp_path / "b.toml", what="card") == {}


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_path_that_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Rejected) as caught:
        decode_toml(tmp_path / name, what="config")

    assert caught.value.code == "config-unreadable"
