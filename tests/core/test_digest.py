"""Digests: SHA-256 in lower-case hex."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgewright.core.digest import digest_of_bytes, digest_of_file, is_digest

# FIPS 180-4, the example "abc", and the hash of nothing.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("data", [b"abc", bytearray(b"abc"), memoryview(b"abc")])
def test_the_digest_of_abc_is_the_standard_s(data: bytes) -> None:
    assert digest_of_bytes(data) == ABC


def test_the_digest_of_an_empty_file_is_the_digest_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    assert digest_of_file(tmp_path / "empty") == NOTHING


def test_a_file_longer_than_one_read_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 4097  # 1 MiB and 256 bytes
    (tmp_path / "long").write_bytes(data)

    assert digest_of_file(tmp_path / "long") == digest_of_bytes(data)


@pytest.mark.parametrize("text", ["", ABC[:-1], ABC + "0", ABC.upper(), "g" + ABC[1:], "../" + ABC[3:], ABC[:-1] + "\n", "٣" * 64])
def test_what_is_not_64_lower_case_hex_digits_is_no_digest(text: str) -> None:
    assert not is_digest(text)


def test_a_digest_is_a_digest() -> None:
    assert is_digest(ABC)
