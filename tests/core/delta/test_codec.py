"""A delta brings back the very file, is small where little changed, and cannot be made to do anything else."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from edgewright.core.delta.codec import MAGIC, Copy, Data, Delta, Words, apply_delta, decode_delta, encode_delta
from edgewright.core.errors import Rejected
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def round_trip(base: Path, target: Path) -> float:
    """The delta's share of the file that it brings back."""
    delta = encode_delta(base, target)
    out = target.with_name("out")
    apply_delta(base, delta, out, target.stat().st_size)
    assert out.read_bytes() == target.read_bytes()
    return len(delta) / max(1, target.stat().st_size)


def test_a_fine_tune_of_all_weights_by_a_thousandth_is_half_of_it(save_model: Any, weights: list[Any]) -> None:
    rng = np.random.default_rng(6)
    tuned = [(value * (1 + 1e-3 * rng.standard_normal(value.shape))).astype(np.float32) for value in weights]

    assert round_trip(save_model("base", weights), save_model("target", tuned)) <= 0.5


@pytest.mark.parametrize("word", ["g", "a longer name that moves every byte behind it"])
def test_a_new_head_costs_the_head(save_model: Any, weights: list[Any], word: str) -> None:
    head = np.random.default_rng(7).standard_normal((40, 40)).astype(np.float32)
    share = round_trip(save_model("base", [*weights, head]), save_model("target", [*weights, -2 * head + 1], word))

    assert share <= head.nbytes / sum(value.nbytes for value in weights) + 0.005


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_other_floats_are_words_as_well(save_model: Any, weights: list[Any], kind: Any) -> None:
    base = [value.astype(kind) for value in weights[:1]]
    tuned = [(base[0] * kind(1.002)).astype(kind)]

    assert round_trip(save_model("base", base), save_model("target", tuned)) < 0.75


def test_the_same_file_costs_nothing(save_model: Any, weights: list[Any]) -> None:
    assert round_trip(save_model("base", weights), save_model("base", weights)) < 0.001


def test_weights_of_another_shape_still_come_back(save_model: Any, weights: list[Any]) -> None:
    assert round_trip(save_model("base", weights), save_model("target", [weights[0][:150], weights[1]])) < 1.0


@pytest.mark.parametrize(("base", "target"), [(b"", b""), (b"", b"x"), (b"x", b""), (b"abc" * 5000, b"abc" * 9000), (b"\x3a\xff\xff", b"\x3a\x80")])
def test_files_that_are_no_models_are_bytes(tmp_path: Path, base: bytes, target: bytes) -> None:
    (tmp_path / "base").write_bytes(base)
    (tmp_path / "target").write_bytes(target)
    round_trip(tmp_path / "base", tmp_path / "target")


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000), edits=st.integers(0, 8))
def test_whatever_was_cut_moved_or_put_in_it_comes_back(tmp_path: Path, seed: int, edits: int) -> None:
    chance = random.Random(seed)
    base = chance.randbytes(chance.randrange(200_000))
    target = bytearray(base)
    for _ in range(edits):
        place = chance.randrange(len(target) + 1)
        target[place : place + chance.choice((0, 10, 9000))] = chance.choice((b"", b"new", base[: chance.randrange(30_000)]))
    (tmp_path / "base").write_bytes(base)
    (tmp_path / "target").write_bytes(target)
    round_trip(tmp_path / "base", tmp_path / "target")


# --- what is refused ---


def packed(size: int, *parts: Any, base_size: int = 100) -> bytes:
    return MAGIC + msgspec.msgpack.encode(Delta(base_size, size, list(parts)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"EWD\x02" + b"\x93\x00\x00\x90",
        MAGIC + b"\xc1",
        packed(5, Copy(0, 4)),
        packed(4, Copy(98, 4)),
        packed(3, Words(0, 3, 4, b"")),
        packed(3, Words(0, 3, 3, b"")),
        packed(8 << 20, Words(None, 8 << 20, 4, b"")),
    ],
    ids=["empty", "another version", "no MessagePack", "too short", "behind the end", "half a word", "a width that is none", "too large a block"],
)
def test_a_delta_that_contradicts_itself_is_refused_before_anything_is_unpacked(data: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        decode_delta(data)

    assert caught.value.code == "delta-malformed"


@pytest.mark.parametrize(
    "part",
    [
        Data(10, b"not packed"),
        Words(0, 8, 4, b"\xc1"),
        Words(0, 8, 4, msgspec.msgpack.encode([b"", b""])),
        Words(0, 8, 4, msgspec.msgpack.encode([b"x"] * 4)),
    ],
    ids=["no zstd", "no planes", "too few planes", "planes that are none"],
)
def test_parts_that_do_not_unpack_are_refused(tmp_path: Path, part: Any) -> None:
    (tmp_path / "base").write_bytes(bytes(100))
    with pytest.raises(Rejected) as caught:
        apply_delta(tmp_path / "base", packed(part.size, part), tmp_path / "out", part.size)

    assert caught.value.code == "delta-malformed"


def test_a_few_packed_bytes_do_not_become_many(tmp_path: Path) -> None:
    import zstandard

    (tmp_path / "base").write_bytes(bytes(100))
    bomb = zstandard.ZstdCompressor(level=3).compress(bytes(100 << 20))
    with pytest.raises(Rejected):
        apply_delta(tmp_path / "base", packed(10, Data(10, bomb)), tmp_path / "out", 10)


def test_a_delta_for_another_base_is_refused(tmp_path: Path) -> None:
    (tmp_path / "base").write_bytes(bytes(99))
    with pytest.raises(Rejected):
        apply_delta(tmp_path / "base", packed(4, Copy(0, 4)), tmp_path / "out", 4)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200), cut=st.integers(0, 80))
def test_no_bytes_raise_anything_else(tmp_path: Path, data: bytes, cut: int) -> None:
    good = packed(8, Words(0, 8, 4, msgspec.msgpack.encode([b"x"] * 4)))
    (tmp_path / "base").write_bytes(bytes(100))
    for bad in (MAGIC + data, good[:cut] + data + good[cut + len(data) :]):
        with contextlib.suppress(Rejected):
            apply_delta(tmp_path / "base", bad, tmp_path / "out", 8)
