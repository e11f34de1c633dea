"""Timings of kernels, kept per device: what one build measured the next one need not.

The file is shared by builds that may run at the same time: each reads it, works on its own copy, and merges what it found under a lock. A cache of
another device or release is ignored, and replaced by the next build's.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...core.errors import Rejected
from ...core.files import write_atomic
from .binding import Binding

MAX_CACHE_BYTES = 256 << 20


def attach(binding: Binding, config: Any, path: Path | None) -> None:
    """Give `config` the timings of `path`, or an empty cache to fill. TensorRT-RTX times at run time and has none."""
    if path is None or binding.name == "tensorrt_rtx":
        return
    known = read(path)
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def merge_back(binding: Binding, config: Any, path: Path | None) -> None:
    """Add what the build has measured to `path`; timings that another build has added meanwhile stay."""
    if path is None or binding.name == "tensorrt_rtx":
        return
    mine = config.get_timing_cache()
    if mine is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        now = read(path)
        if now:
            theirs = config.create_timing_cache(now)
            if theirs is not None:
                mine.combine(theirs, False)
        write_atomic(path, bytes(mine.serialize()))


def read(path: Path) -> bytes:
    """The file's content; empty when there is none."""
    try:
        if path.stat().st_size > MAX_CACHE_BYTES:
            return b""
        return path.read_bytes()
    except OSError:
        return b""


def export_to(path: Path, target: Path) -> int:
    """Copy the timings of this device for identical ones; returns their size in bytes.

    Raises:
        Rejected: ``timing-cache-missing``.
    """
    if not path.is_file():
        raise Rejected("timing-cache-missing", f"there is no timing cache at {path}", "Build an engine with that backend first")
    with _locked(path):
        data = read(path)
    write_atomic(target, data)
    return len(data)


def import_from(binding: Binding, config: Any, path: Path, source: Path) -> None:
    """Merge timings of an identical device into `path`.

    Raises:
        Rejected: ``timing-cache-unreadable``: they are of another device or release.
    """
    data = read(source)
    cache = config.create_timing_cache(data) if data else None
    if cache is None or not config.set_timing_cache(cache, False):
        message = f"{source.name} holds no timings of this device with {binding.name} {binding.version}"
        raise Rejected("timing-cache-unreadable", message, "Export it on an identical device with the same release")
    merge_back(binding, config, path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
