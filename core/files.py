"""Durable files. Every file that must survive a power cut is written here and nowhere else.

The order is that of restic and of LWN's "A way to do atomic writes": temporary file in the same folder, write, fsync, rename, fsync
the folder. A reader sees the old content or the new one, never a part; a crash leaves at most a ``.tmp`` that `remove_leftovers` clears.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import Unfit

TEMPORARY_SUFFIX = ".tmp"


def write_atomic(path: Path, data: bytes | memoryview, *, mode: int = 0o644) -> None:
    """Replace `path` by `data`, all or nothing, and on disk before this returns.

    Raises:
        Unfit: ``disk-full`` or ``disk-read-only``; the old content is untouched and no temporary file stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    with disk_errors(path):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.rename(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def link_atomic(link: Path, target: str) -> None:
    """Point the symbolic link `link` at `target` in one rename, on disk before this returns."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    with disk_errors(link):
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.rename(link)
        sync_folder(link.parent)


def move_durably(source: Path, target: Path) -> None:
    """Rename a finished, already synced file or folder into place on the same file system."""
    with disk_errors(target):
        source.rename(target)
        sync_folder(target.parent)
        if source.parent != target.parent:
            sync_folder(source.parent)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, on disk before this returns: a file that is synced in a folder that is not may be lost
    with it.
    """
    with disk_errors(folder):
        missing = [path for path in (folder, *folder.parents) if not path.is_dir()]
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            sync_folder(path.parent)


def unlink_durably(path: Path) -> None:
    """Delete a file or a link, on disk before this returns: what it led to may go afterwards. Nothing to do when it is not there."""
    with disk_errors(path):
        try:
            path.unlink()
        except FileNotFoundError:
            return
        sync_folder(path.parent)


def sync_tree(folder: Path) -> None:
    """Bring every file below `folder`, and the folders themselves, to disk: before a rename makes them reachable."""
    with disk_errors(folder):
        for root, _folders, names in os.walk(folder):
            for name in names:
                path = Path(root, name)
                if path.is_symlink():
                    continue
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            sync_folder(Path(root))


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> int:
    """Delete the temporary files that a crash left directly in `folder`; returns how many."""
    count = 0
    for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        count += 1
    return count


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what a disk says when it is full, worn or read-only into this device's error."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            message = f"the disk is full: {path.name} could not be written"
            raise Unfit("disk-full", message, f"Free space on the file system of {path.parent} and send the deployment again") from error
        if error.errno == errno.EROFS:
            message = f"the file system is read-only: {path.name} could not be written"
            raise Unfit("disk-read-only", message, f"Remount the file system of {path.parent} for writing; check it for errors") from error
        raise
