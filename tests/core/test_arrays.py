"""Array files: what numpy writes is read back in pieces; everything else is refused with a reason."""

from __future__ import annotations

import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from edgewright.core import arrays
from edgewright.core.arrays import ArrayFile, open_npy, open_npz
from edgewright.core.errors import Rejected

TYPES = ["bool", "uint8", "int8", "int16", "uint16", "int32", "int64", "uint64", "float16", "float32", "float64", ">f4", ">i2"]


def read(file: ArrayFile, start: int, stop: int) -> np.ndarray:
    with file.reader() as rows:
        return rows(start, stop)


def npy_bytes(header: str, data: bytes = b"", version: int = 1) -> bytes:
    width = 2 if version == 1 else 4
    return b"\x93NUMPY" + bytes([version, 0]) + len(header).to_bytes(width, "little") + header.encode("latin-1") + data


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 2, 3, 2)])
@pytest.mark.parametrize("kind", ["npy", "npz", "deflated"])
def test_what_numpy_writes_is_read_back(tmp_path: Path, kind: str, shape: tuple[int, ...], dtype: str) -> None:
    values = np.random.default_rng(1).integers(0, 100, shape).astype(dtype)
    if kind == "npy":
        np.save(tmp_path / "x.npy", values)
        file = open_npy(tmp_path / "x.npy")
    else:
        (np.savez if kind == "npz" else np.savez_compressed)(tmp_path / "x.npz", x=values)
        file = open_npz(tmp_path / "x.npz")["x"]

    assert (file.shape, file.dtype) == (values.shape, values.dtype)
    assert np.array_equal(read(file, 0, 5), values)
    assert np.array_equal(read(file, 2, 4), values[2:4])
    assert read(file, 2, 4).dtype == values.dtype


def test_a_member_is_read_forwards_backwards_and_again(tmp_path: Path) -> None:
    values = np.arange(3000, dtype=np.int32).reshape(1000, 3)
    np.savez_compressed(tmp_path / "x.npz", x=values)

    with open_npz(tmp_path / "x.npz")["x"].reader() as rows:
        for start, stop in [(0, 10), (10, 20), (500, 1000), (0, 1), (999, 1000), (7, 7)]:
            assert np.array_equal(rows(start, stop), values[start:stop])


def test_two_readers_of_one_member_do_not_disturb_each_other(tmp_path: Path) -> None:
    values = np.arange(100)
    np.savez(tmp_path / "x.npz", x=values)
    file = open_npz(tmp_path / "x.npz")["x"]

    with file.reader() as first, file.reader() as second:
        for i in range(100):
            assert first(i, i + 1) == second(i, i + 1) == i


def test_an_array_in_fortran_order_is_mapped_in_its_order(tmp_path: Path) -> None:
    values = np.asfortranarray(np.arange(24).reshape(4, 3, 2))
    np.save(tmp_path / "x.npy", values)

    rows = read(open_npy(tmp_path / "x.npy"), 1, 3)

    assert np.array_equal(rows, values[1:3])
    assert rows.flags.c_contiguous


def test_an_array_in_fortran_order_is_not_streamed_and_the_reason_says_how_to_save_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.asfortranarray(np.ones((4, 3))))

    with pytest.raises(Rejected, match=r"Fortran order.*ascontiguousarray"):
        open_npz(tmp_path / "x.npz")


def test_rows_are_the_reader_s_own(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(4))
    rows = read(open_npy(tmp_path / "x.npy"), 0, 4)

    rows[0] = 1.0

    assert np.load(tmp_path / "x.npy")[0] == 0.0


def test_a_large_deflated_member_is_never_in_memory_whole(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((256, 1 << 18), np.uint8))  # 64 MiB
    file = open_npz(tmp_path / "x.npz")["x"]

    tracemalloc.start()
    try:
        with file.reader() as rows:
            total = sum(int(rows(i, i + 1).size) for i in range(256))
            assert rows(255, 256).size == 1 << 18  # skips 255 rows again
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert total == 64 << 20
    assert peak < 8 << 20


def test_a_closed_reader_leaves_no_file_open(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.arange(4))

    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        read(open_npz(tmp_path / "x.npz")["x"], 0, 4)

    opened = {link.readlink() for link in Path("/proc/self/fd").iterdir() if link.exists()}
    assert tmp_path / "x.npz" not in opened


HEADERS = {
    "object": "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
    "text": "{'descr': '<U4', 'fortran_order': False, 'shape': (1,)}",
    "structure": "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
    "complex": "{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}",
    "time": "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,)}",
    "sub-array": "{'descr': '(9,)f4', 'fortran_order': False, 'shape': (1,)}",
    "scalar": "{'descr': '<f4', 'fortran_order': False, 'shape': ()}",
    "negative": "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
    "fraction": "{'descr': '<f4', 'fortran_order': False, 'shape': (1.0,)}",
    "boolean": "{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}",
    "list": "{'descr': '<f4', 'fortran_order': False, 'shape': [1]}",
    "huge": "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 99999999999)}",
    "huge-and-empty": "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 99999999999)}",
    "many-axes": "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 40 + ")}",
    "missing-key": "{'descr': '<f4', 'shape': (1,)}",
    "extra-key": "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}",
    "call": "__import__('os').getcwd()",
    "deep": "(" * 9000,
    "python-2": "{'descr': '<f4', 'fortran_order': False, 'shape': (1L,)}",
    "unfinished": "{'descr': '''",
    "number": "3",
    "nothing": "",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_a_header_that_describes_no_numbers_is_refused(tmp_path: Path, kind: str, header: str) -> None:
    data = npy_bytes(header, b"\0" * 64)
    path = tmp_path / f"x.{kind}"
    if kind == "npy":
        path.write_bytes(data)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", data)

    with pytest.raises(Rejected, match=path.name) as caught:
        open_npy(path) if kind == "npy" else open_npz(path)

    assert caught.value.code == "dataset-unreadable"


@pytest.mark.parametrize("version", [1, 2, 3])
def test_headers_of_all_versions_are_read(tmp_path: Path, version: int) -> None:
    header = "{'descr': '<i4', 'fortran_order': False, 'shape': (2,)}\n"
    (tmp_path / "x.npy").write_bytes(npy_bytes(header, b"\1\0\0\0\2\0\0\0", version))

    assert read(open_npy(tmp_path / "x.npy"), 0, 2).tolist() == [1, 2]


def test_a_header_of_four_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * 100)

    with pytest.raises(Rejected, match="4294967295 bytes"):
        open_npy(tmp_path / "x.npy")


@pytest.mark.parametrize("shape", ["(1, 100000000)", "(20000000, 1000)", "(0, 100000000)"])
def test_a_sample_of_400_megabytes_and_an_array_of_80_gigabytes_are_refused_as_too_large(tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}"
    (tmp_path / "x.npy").write_bytes(npy_bytes(header))

    with pytest.raises(Rejected, match="too large"):
        open_npy(tmp_path / "x.npy")


def test_pickled_data_is_never_executed(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)

    with pytest.raises(Rejected, match="not numbers"):
        open_npy(tmp_path / "x.npy")


def test_every_truncation_of_an_npy_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(4, dtype=np.uint8))
    whole = (tmp_path / "x.npy").read_bytes()

    for length in range(len(whole)):
        (tmp_path / "x.npy").write_bytes(whole[:length])
        with pytest.raises(Rejected):
            open_npy(tmp_path / "x.npy")


def test_a_member_shorter_than_its_header_says_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", npy_bytes("{'descr': '<f4', 'fortran_order': False, 'shape': (9,)}", b"\0" * 35))

    with pytest.raises(Rejected, match="ends early"):
        open_npz(tmp_path / "x.npz")


def test_a_flipped_bit_in_a_member_is_refused_when_it_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros(1000))
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[4000] ^= 1
    (tmp_path / "x.npz").write_bytes(data)

    with pytest.raises(Rejected) as caught:
        read(open_npz(tmp_path / "x.npz")["x"], 0, 1000)

    assert caught.value.code == "dataset-unreadable"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w", method) as archive:
        archive.writestr("x.npy", b"")

    with pytest.raises(Rejected, match="neither stored nor deflated"):
        open_npz(tmp_path / "x.npz")


def test_an_archive_of_many_members_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for index in range(arrays.MAX_MEMBERS + 1):
            archive.writestr(f"{index}.npy", b"")

    with pytest.raises(Rejected, match="257 members"):
        open_npz(tmp_path / "x.npz")


def test_a_file_that_vanishes_after_opening_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    file = open_npz(tmp_path / "x.npz")["x"]
    (tmp_path / "x.npz").unlink()

    with pytest.raises(Rejected):
        read(file, 0, 1)


@pytest.mark.parametrize("data", [b"", b"PK\x05\x06", b"not a zip", b"PK\x03\x04" + b"\0" * 60])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(data)

    with pytest.raises(Rejected):
        open_npz(tmp_path / "x.npz")


def test_other_files_in_an_archive_are_ignored(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive:
        archive.writestr("README", "hello")

    assert list(open_npz(tmp_path / "x.npz")) == ["x"]
