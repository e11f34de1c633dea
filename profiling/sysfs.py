"""Files of the kernel below a root: ``/`` on a board, a copied tree in tests and for ``--root``.

Rules:
- nothing below another root ever leads out of it: absolute links are taken from the root, ``..`` stops at it;
- only regular files are read, at most `MAX_BYTES` of them, and never with a wait (a FIFO in a copied tree must not hang);
- a file that does not answer is None (`text`) or a `Fault` by name (`Attribute`), never an exception.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

MAX_BYTES = 4096
MAX_ENTRIES = 4096
_MAX_LINKS = 40
_INTEGER = re.compile(rb"[+-]?[0-9]{1,18}")
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

Fault = Literal["busy", "no data", "vanished", "forbidden", "failed", "garbage"]
Read = Callable[[int, int, int], bytes]

# What drivers answer: a gated unit, a channel switched off, an unbound device.
_FAULTS: dict[int, Fault] = {
    errno.EAGAIN: "busy",
    errno.EBUSY: "busy",
    errno.ETIMEDOUT: "busy",
    errno.ENODATA: "no data",
    errno.ENODEV: "vanished",
    errno.ENXIO: "vanished",
    errno.ENOENT: "vanished",
    errno.ENOTDIR: "vanished",
    errno.EBADF: "vanished",
    errno.ESTALE: "vanished",
    errno.EACCES: "forbidden",
    errno.EPERM: "forbidden",
}


@dataclass(frozen=True, slots=True)
class Sysfs:
    """A tree of kernel files. `read` is ``os.pread``; tests give one that fails as drivers do."""

    root: Path = Path("/")
    read: Read = os.pread

    @property
    def is_this_machine(self) -> bool:
        return self.root == Path("/")

    def text(self, path: str, max_bytes: int = MAX_BYTES) -> str | None:
        """The stripped text of a file, of its first `max_bytes`; None when it cannot be read or is no text."""
        data = self._bytes(path, max_bytes)
        if data is None:
            return None
        try:
            return data.decode("utf-8").strip()
        except UnicodeDecodeError:
            return None

    def integer(self, path: str) -> int | None:
        """The whole number that a file holds, alone or with a unit behind it (``5000 ma``); None for anything else."""
        words = (self.text(path) or "").split()
        return int(words[0]) if words and _INTEGER.fullmatch(words[0].encode()) else None

    def list(self, path: str) -> tuple[str, ...]:
        """The sorted names in a folder; empty when there is none."""
        folder = self.resolve(path)
        if folder is None:
            return ()
        try:
            with os.scandir(folder) as entries:
                return tuple(sorted(entry.name for entry, _ in zip(entries, range(MAX_ENTRIES), strict=False)))
        except OSError:
            return ()

    def exists(self, path: str) -> bool:
        return self.resolve(path) is not None

    def attribute(self, path: str) -> Attribute:
        return Attribute(self, path)

    def resolve(self, path: str) -> Path | None:
        """Where `path` really is, every link followed inside the root; None when it leads nowhere."""
        if self.is_this_machine:
            found = Path("/", path)
            return found if found.exists() else None
        pending, found, links = list(PurePosixPath(path).parts)[::-1], self.root, 0
        while pending:
            part = pending.pop()
            if part in {"/", "."}:
                found = self.root if part == "/" else found
                continue
            if part == "..":
                found = found if found == self.root else found.parent
                continue
            step = found / part
            try:
                is_link = step.is_symlink()
                target = step.readlink().as_posix() if is_link else ""
                if not is_link and not step.exists():
                    return None
            except OSError:
                return None
            if not is_link:
                found = step
                continue
            links += 1
            if links > _MAX_LINKS:
                return None
            pending.extend(list(PurePosixPath(target).parts)[::-1])
        return found

    def real(self, path: str) -> str | None:
        """`resolve`, as a path below the root."""
        found = self.resolve(path)
        if found is None:
            return None
        if self.is_this_machine:
            return os.path.realpath(found).lstrip("/")
        return found.relative_to(self.root).as_posix()

    def open(self, path: str) -> int:
        """A descriptor of a regular file.

        Raises:
            OSError: there is none, or it is something else.
        """
        found = self.resolve(path)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "no such file below the root", path)
        descriptor = os.open(found, _FLAGS)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", path)
        return descriptor

    def _bytes(self, path: str, max_bytes: int) -> bytes | None:
        try:
            descriptor = self.open(path)
        except (OSError, ValueError):
            return None
        try:
            return self.read(descriptor, max_bytes, 0)
        except OSError:
            return None
        finally:
            os.close(descriptor)


@dataclass(slots=True)
class Attribute:
    """One number of the kernel, read again and again through one kept descriptor. After a fault the file is opened anew."""

    tree: Sysfs
    path: str
    fault: Fault | None = None
    _descriptor: int | None = field(default=None, repr=False)

    def read(self) -> int | None:
        """The number now; None with `fault` set when there was none."""
        try:
            if self._descriptor is None:
                self._descriptor = self.tree.open(self.path)
            data = self.tree.read(self._descriptor, 64, 0).strip()
            if os.fstat(self._descriptor).st_nlink == 0:
                # The kernel answers ENODEV for a device that went; a copied tree's deleted file would answer for ever.
                raise FileNotFoundError(errno.ENOENT, "deleted", self.path)
        except OSError as error:
            self.fault = _FAULTS.get(error.errno or 0, "failed")
            self.close()
            return None
        if _INTEGER.fullmatch(data) is None:
            self.fault = "garbage"
            return None
        self.fault = None
        return int(data)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
