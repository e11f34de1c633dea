"""Power cuts in a sample of the changes of every tale; and the disk that loses what was not synced, by hand."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TALES = ("a first deployment", "a next version", "a version that does not run", "a removal", "a roll-back by the owner", "a new runtime")
STEP = 9


@pytest.mark.parametrize("name", TALES)
def test_a_power_cut_before_any_change_leads_to_the_same_end(
    name: str, faults: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = faults("cuts")
    told = cuts.Cuts(tmp_path, cuts.load_fake("tales").STORIES[name], monkeypatch.setattr)
    changes = told.passed
    assert changes >= 10
    for at in range(0, changes, STEP):
        picture, wrong = told.tell(at)
        assert wrong == [], f"cut before change {at} of {changes}"
        assert picture == told.expected, f"cut before change {at} of {changes}"


# --- the disk itself ---


@pytest.fixture
def disk(faults: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A disk on ``tmp_path/disk``, which holds a file that is safe; `write` and `sync` as programs do."""
    root = tmp_path / "disk"
    root.mkdir()
    (root / "safe").write_bytes(b"old" * 1000)
    made = faults("power").Disk(root, lambda: None)
    made.install(monkeypatch.setattr)
    made.begin()
    return made


def write(path: Path, data: bytes, *, sync: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(descriptor, data)
    if sync:
        os.fsync(descriptor)
    os.close(descriptor)


def sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def after_cuts(disk: Any, tmp_path: Path, change: Callable[[Path], None], name: str) -> set[bytes | None]:
    """What the file `name` may be after a cut, over many of them; None = not there."""
    seen: set[bytes | None] = set()
    root = tmp_path / "disk"
    for seed in range(60):
        disk.end()
        for path in root.iterdir():
            path.unlink()
        (root / "safe").write_bytes(b"old" * 1000)
        disk.begin()
        change(root)
        disk.cut(random.Random(seed))
        path = root / name
        seen.add(path.read_bytes() if path.exists() else None)
    return seen


def test_what_was_synced_is_there(disk: Any, tmp_path: Path) -> None:
    def change(root: Path) -> None:
        write(root / "new", b"new" * 1000, sync=True)
        sync_folder(root)

    assert after_cuts(disk, tmp_path, change, "new") == {b"new" * 1000}


def test_a_name_that_was_not_synced_may_be_missing(disk: Any, tmp_path: Path) -> None:
    seen = after_cuts(disk, tmp_path, lambda root: write(root / "new", b"new" * 1000, sync=True), "new")

    assert seen == {None, b"new" * 1000}


def test_content_that_was_not_synced_may_be_torn(disk: Any, tmp_path: Path) -> None:
    def change(root: Path) -> None:
        write(root / "new", b"new" * 1000, sync=False)
        sync_folder(root)

    seen = after_cuts(disk, tmp_path, change, "new")
    assert {b"", b"new" * 1000} < seen
    assert any(data is not None and data.startswith(b"\0" * 512) for data in seen)


def test_a_rename_without_a_sync_before_it_may_replace_the_old_by_nothing(disk: Any, tmp_path: Path) -> None:
    """What `write_atomic` is for: a careless program loses both."""

    def change(root: Path) -> None:
        write(root / "temporary", b"new" * 1000, sync=False)
        os.rename(root / "temporary", root / "safe")  # noqa: PTH104 - as C code does

    seen = after_cuts(disk, tmp_path, change, "safe")
    assert b"old" * 1000 in seen
    assert b"" in seen


def test_the_program_s_own_writes_leave_the_old_or_the_new(disk: Any, tmp_path: Path) -> None:
    from edgewright.core.files import write_atomic

    seen = after_cuts(disk, tmp_path, lambda root: write_atomic(root / "safe", b"new" * 1000), "safe")
    assert seen == {b"new" * 1000}
