"""What was made before and need not be made again: engines by fingerprint, calibrations and fidelities by the digest of all they rest on.

Rules:
- an entry is whole or not there: it is moved in by one rename, its manifest written and sealed before;
- an engine is taken only after every check that opening it would make, and a damaged one is thrown away;
- a result of several files is taken only when each is what it was;
- what is computed by our own code is keyed by that code too: an update never serves old results;
- the size is bounded: the entries that were not used for longest go first.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import msgspec

from ..core.digest import digest_of_bytes, digest_of_file
from ..core.errors import Unfit
from ..core.files import write_atomic
from ..engines.manifest import Manifest
from ..engines.opening import check_folder
from ..engines.provenance import Trusted

T = TypeVar("T")

MAX_CACHE_BYTES = 2 << 30
MAX_VALUE_BYTES = 1 << 20
VALUE_NAME = "value.json"
RESULT_NAME = "result.json"
TIMING_NAME = "timing.cache"


class _Kept(msgspec.Struct, frozen=True):
    """What is in a folder: the digests of its files by name, and the value that tells what they are."""

    files: dict[str, str]
    value: msgspec.Raw


@dataclass(frozen=True, slots=True)
class StageCache:
    """A folder of earlier results. Several processes may use it."""

    folder: Path
    max_bytes: int = MAX_CACHE_BYTES

    def timing_cache(self, backend: str) -> Path:
        """Where `backend` keeps the timings of its kernels on this device."""
        return self.folder / f"{backend}.{TIMING_NAME}"

    def take_engine(self, fingerprint: str, target: Path, trusted: Trusted) -> Manifest | None:
        """Copy the engine with this fingerprint into the existing folder `target`; None when there is none that may be used."""
        entry = self._entry("engines", fingerprint)
        if not entry.is_dir():
            return None
        try:
            checked = check_folder(entry, trusted, wanted=fingerprint)
        except Unfit as error:
            if error.code == "engine-unusable":
                shutil.rmtree(entry, ignore_errors=True)
            return None
        for name in checked.manifest.files:
            shutil.copyfile(entry / name, target / name)
        os.utime(entry)
        return checked.manifest

    def put(self, kind: str, key: str, built: Path) -> None:
        """Keep a copy of the finished folder `built`."""
        entry = self._entry(kind, key)
        entry.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=entry.parent))
        try:
            shutil.copytree(built, draft, dirs_exist_ok=True)
            with self._locked():
                shutil.rmtree(entry, ignore_errors=True)
                draft.rename(entry)
                self._evict(entry)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def take_folder(self, kind: str, key: str, target: Path) -> bool:
        """Copy a folder that `put` kept into the existing folder `target`."""
        entry = self._entry(kind, key)
        if not entry.is_dir():
            return False
        shutil.copytree(entry, target, dirs_exist_ok=True)
        os.utime(entry)
        return True

    def put_result(self, kind: str, key: str, folder: Path, value: object) -> None:
        """Keep a copy of `folder` with a `value` that tells what is in it; its paths lie in `folder`."""
        kept = _Kept(_digests(folder), msgspec.Raw(encode_paths(folder, value)))
        (folder / RESULT_NAME).write_bytes(msgspec.json.encode(kept))
        self.put(kind, key, folder)

    def take_result(self, kind: str, key: str, folder: Path, type_: type[T]) -> T | None:
        """Copy what `put_result` kept into the existing, empty `folder`; None, and nothing in it, when there is none or it is damaged."""
        if not self.take_folder(kind, key, folder):
            return None
        try:
            kept = msgspec.json.decode((folder / RESULT_NAME).read_bytes(), type=_Kept)
            (folder / RESULT_NAME).unlink()
            if _digests(folder) == kept.files:
                return decode_paths(folder, bytes(kept.value), type_)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        for damaged in (self._entry(kind, key), folder):
            shutil.rmtree(damaged, ignore_errors=True)
        folder.mkdir()
        return None

    def put_value(self, kind: str, key: str, value: object) -> None:
        """Keep a small value that msgspec can write."""
        entry = self._entry(kind, key)
        entry.mkdir(parents=True, exist_ok=True)
        write_atomic(entry / VALUE_NAME, msgspec.json.encode(value))

    def take_value(self, kind: str, key: str, type_: type[T]) -> T | None:
        """The value that was kept, None when there is none or it is of another time."""
        path = self._entry(kind, key) / VALUE_NAME
        try:
            if path.stat().st_size > MAX_VALUE_BYTES:
                return None
            value = msgspec.json.decode(path.read_bytes(), type=type_)
            os.utime(path.parent)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return value

    def _entry(self, kind: str, key: str) -> Path:
        return self.folder / kind / key

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _evict(self, fresh: Path) -> None:
        """Delete the entries that were used least lately until the rest fits; `fresh` stays."""
        entries = [path for kind in self.folder.iterdir() if kind.is_dir() for path in kind.iterdir() if not path.name.startswith(".")]
        sizes = {path: _size_bytes(path) for path in entries}
        total = sum(sizes.values())
        for path in sorted(entries, key=lambda path: path.stat().st_mtime):
            if total <= self.max_bytes:
                return
            if path != fresh:
                shutil.rmtree(path, ignore_errors=True)
                total -= sizes[path]


def key_of(*parts: object) -> str:
    """A key from everything that a result rests on."""
    return digest_of_bytes(msgspec.json.encode(parts, order="sorted"))


def digest_of_tree(path: Path | None) -> str:
    """The digest of a file, or of a folder's files by name; empty for None."""
    if path is None:
        return ""
    if path.is_file():
        return digest_of_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return key_of([(str(file.relative_to(path)), digest_of_file(file)) for file in files])


def digest_of_code(package: ModuleType) -> str:
    """The digest of a package's own source files, those of its sub-packages too."""
    folders = [Path(folder) for folder in package.__path__]
    return key_of([(str(path.relative_to(folder)), digest_of_file(path)) for folder in folders for path in sorted(folder.rglob("*.py"))])


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != RESULT_NAME)
    return {str(path.relative_to(folder)): digest_of_file(path) for path in files}


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def encode_paths(folder: Path, value: Any) -> bytes:
    """JSON of a dataclass whose paths lie in `folder`, independent of where that is."""

    def relative(entry: object) -> str:
        if isinstance(entry, Path):
            return str(entry.relative_to(folder))
        raise TypeError(f"{type(entry).__name__} has no JSON")

    return msgspec.json.encode(value, enc_hook=relative)


def decode_paths(folder: Path, data: bytes, type_: type[T]) -> T:
    """What `encode_paths` wrote, with its paths in `folder`.

    Raises:
        msgspec.DecodeError: it was written by other code.
    """
    return msgspec.json.decode(data, type=type_, dec_hook=lambda _type, text: folder / text)
