from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
from edgewright.core.measurement import Fidelity
from edgewright.pipeline.cache import StageCache, decode_paths, digest_of_code, digest_of_tree, encode_paths, key_of

FIDELITY = Fidelity(top1_fp32=None, top1=None, agreement=0.5, sqnr_db=30.0, samples=4)


@pytest.fixture
def cache(tmp_path):
    (tmp_path / "cache").mkdir()
    return StageCache(tmp_path / "cache", max_bytes=1000)


@pytest.fixture
def folder(tmp_path):
    def make(name, size):
        path = tmp_path / name
        path.mkdir()
        (path / "data").write_bytes(b"x" * size)
        return path

    return make


def test_a_folder_comes_back_as_it_was_put(cache, folder, tmp_path):
    cache.put("things", "key", folder("a", 10))
    (tmp_path / "out").mkdir()

    assert cache.take_folder("things", "key", tmp_path / "out")
    assert (tmp_path / "out" / "data").read_bytes() == b"x" * 10
    assert not cache.take_folder("things", "other", tmp_path / "out")


def test_what_was_not_used_for_longest_goes_first(cache, folder):
    for age, name in ((300, "old"), (100, "new"), (200, "middle")):
        cache.put("things", name, folder(name, 400))
        path = cache.folder / "things" / name
        if path.is_dir():
            os.utime(path, (1_000_000 - age, 1_000_000 - age))

    assert sorted(path.name for path in (cache.folder / "things").iterdir()) == ["middle", "new"]


def test_using_an_entry_keeps_it(cache, folder, tmp_path):
    for age, name in ((300, "old"), (100, "new")):
        cache.put("things", name, folder(name, 400))
        os.utime(cache.folder / "things" / name, (1_000_000 - age, 1_000_000 - age))
    (tmp_path / "out").mkdir()
    cache.take_folder("things", "old", tmp_path / "out")

    cache.put("things", "third", folder("third", 400))

    assert sorted(path.name for path in (cache.folder / "things").iterdir()) == ["old", "third"]


def test_one_entry_that_is_too_large_stays_alone(cache, folder):
    cache.put("things", "small", folder("small", 10))
    cache.put("things", "large", folder("large", 5000))

    assert [path.name for path in (cache.folder / "things").iterdir()] == ["large"]


def test_a_value_comes_back(cache):
    assert cache.take_value("fidelities", "key", Fidelity) is None

    cache.put_value("fidelities", "key", FIDELITY)

    assert cache.take_value("fidelities", "key", Fidelity) == FIDELITY


@pytest.mark.parametrize("content", [b"", b"{}", b'{"unknown": 1}', b"\xff"])
def test_a_damaged_value_is_none(cache, content):
    cache.put_value("fidelities", "key", FIDELITY)
    (cache.folder / "fidelities" / "key" / "value.json").write_bytes(content)

    assert cache.take_value("fidelities", "key", Fidelity) is None


def test_a_result_comes_back_with_its_paths(cache, folder, tmp_path):
    made = folder("made", 10)
    cache.put_result("results", "key", made, Result(made / "data", None, 3))
    (tmp_path / "out").mkdir()

    assert cache.take_result("results", "key", tmp_path / "out", Result) == Result(tmp_path / "out" / "data", None, 3)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["data"]
    assert cache.take_result("results", "other", tmp_path / "out", Result) is None


@pytest.mark.parametrize(("name", "content"), [("data", b""), ("data", b"y" * 10), ("data", None), ("result.json", b""), ("result.json", b"{}")])
def test_a_damaged_result_is_none_and_thrown_away(cache, folder, tmp_path, name, content):
    made = folder("made", 10)
    cache.put_result("results", "key", made, Result(made / "data", None, 3))
    path = cache.folder / "results" / "key" / name
    path.unlink() if content is None else path.write_bytes(content)
    (tmp_path / "out").mkdir()

    assert cache.take_result("results", "key", tmp_path / "out", Result) is None
    assert list((tmp_path / "out").iterdir()) == []
    assert not (cache.folder / "results" / "key").exists()


def test_the_digest_of_code_follows_sub_packages(tmp_path):
    package = ModuleType("package")
    package.__path__ = [str(tmp_path)]
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.py").write_text("1")
    first = digest_of_code(package)
    (tmp_path / "inner" / "b.py").write_text("2")

    assert len({first, digest_of_code(package)}) == 2


def test_a_key_has_every_part_in_it():
    assert key_of("a", "b") == key_of("a", "b")
    assert len({key_of("a", "b"), key_of("ab"), key_of("b", "a"), key_of("a"), key_of("a", None)}) == 5


def test_a_trees_digest_follows_names_and_contents(folder, tmp_path):
    path = folder("a", 3)
    first = digest_of_tree(path)
    (path / "data").rename(path / "other")
    renamed = digest_of_tree(path)
    (path / "other").write_bytes(b"yyy")

    assert len({first, renamed, digest_of_tree(path), digest_of_tree(None)}) == 4
    assert digest_of_tree(path / "other") != digest_of_tree(path)


@dataclass(frozen=True)
class Result:
    file: Path
    other: Path | None
    number: int


def test_paths_move_with_their_folder(tmp_path):
    data = encode_paths(tmp_path / "a", Result(tmp_path / "a" / "x.onnx", None, 3))

    assert decode_paths(tmp_path / "b", data, Result) == Result(tmp_path / "b" / "x.onnx", None, 3)
    with pytest.raises(msgspec.DecodeError):
        decode_paths(tmp_path, b"{}", Result)
