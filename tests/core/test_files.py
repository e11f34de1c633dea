"""Durable files: all or nothing, no leftovers, and a full disk is this device's error."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from edgewright.core import files
from edgewright.core.errors import Unfit
from edgewright.core.files import disk_errors, link_atomic, move_durably, remove_leftovers, sync_tree, write_atomic


def fail_with(number: int):
    def fail(*_args: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_is_written_with_its_mode(tmp_path: Path) -> None:
    write_atomic(tmp_path / "state", b"new", mode=0o600)

    assert (tmp_path / "state").read_bytes() == b"new"
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_file_is_replaced_by_shorter_content(tmp_path: Path) -> None:
    write_atomic(tmp_path / "state", b"a long content")
    write_atomic(tmp_path / "state", b"")

    assert (tmp_path / "state").read_bytes() == b""


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(files.os, "write", lambda descriptor, data: write(descriptor, bytes(data[:3])))

    write_atomic(tmp_path / "state", b"0123456789")

    assert (tmp_path / "state").read_bytes() == b"0123456789"


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "disk-full"), (errno.EDQUOT, "disk-full"), (errno.EROFS, "disk-read-only")])
@pytest.mark.parametrize("step", ["write", "fsync"])
def test_a_failing_disk_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int, code: str
) -> None:
    (tmp_path / "state").write_bytes(b"old")
    monkeypatch.setattr(files.os, step, fail_with(number))

    with pytest.raises(Unfit) as caught:
        write_atomic(tmp_path / "state", b"new")

    assert caught.value.code == code
    assert (tmp_path / "state").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_the_content_is_synced_before_the_rename_and_the_folder_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, rename = os.fsync, Path.rename
    monkeypatch.setattr(files.os, "fsync", lambda d: (events.append("folder" if Path(f"/proc/self/fd/{d}").is_dir() else "file"), fsync(d)))
    monkeypatch.setattr(Path, "rename", lambda self, target: (events.append("rename"), rename(self, target)))

    write_atomic(tmp_path / "state", b"new")

    assert events == ["file", "rename", "folder"]


def test_a_missing_folder_is_not_called_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "missing" / "state", b"new")


def test_other_errors_pass_through() -> None:
    with pytest.raises(PermissionError), disk_errors(Path("x")):
        raise PermissionError


def test_a_link_is_switched_in_one_rename(tmp_path: Path) -> None:
    link_atomic(tmp_path / "current", "one")
    link_atomic(tmp_path / "current", "two")

    assert (tmp_path / "current").readlink() == Path("two")
    assert [path.name for path in tmp_path.iterdir()] == ["current"]


def test_a_link_is_switched_although_a_crash_left_its_temporary(tmp_path: Path) -> None:
    (tmp_path / f".current.{os.getpid()}.tmp").symlink_to("half")

    link_atomic(tmp_path / "current", "two")

    assert (tmp_path / "current").readlink() == Path("two")


def test_a_folder_moves_into_place(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    (tmp_path / "from" / "engine").mkdir()
    (tmp_path / "from" / "engine" / "plan").write_bytes(b"plan")

    sync_tree(tmp_path / "from")
    move_durably(tmp_path / "from" / "engine", tmp_path / "to" / "engine")

    assert (tmp_path / "to" / "engine" / "plan").read_bytes() == b"plan"
    assert not (tmp_path / "from" / "engine").exists()


def test_every_file_and_folder_of_a_tree_is_synced_and_links_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"b")
    (tmp_path / "dangling").symlink_to("nowhere")
    synced: set[Path] = set()
    monkeypatch.setattr(files.os, "fsync", lambda d: synced.add(Path(f"/proc/self/fd/{d}").readlink()))

    sync_tree(tmp_path)

    assert synced == {tmp_path, tmp_path / "a", tmp_path / "a" / "b"}


def test_leftovers_of_a_crash_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".state.1.tmp").write_bytes(b"half")
    (tmp_path / ".engine.1.tmp").mkdir()
    (tmp_path / ".engine.1.tmp" / "plan").write_bytes(b"half")
    (tmp_path / "kept.tmp").write_bytes(b"")
    (tmp_path / ".kept").write_bytes(b"")

    assert remove_leftovers(tmp_path) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"kept.tmp", ".kept"}
