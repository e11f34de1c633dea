"""A disk that loses power: below one folder, what was not synced before the cut is dropped, torn, or kept, by chance.

The real functions run on the real folder, and each change is noted. `cut` then makes of the folder one of the disks that a power cut may leave:
- a file has, 512 bytes by 512 bytes, what was there at its last fsync or what was written since; its length is either one's or between;
- a folder has its entries as of its last fsync, and of the changes since then any first part, each folder for itself; a rename between two folders
  is whole or not at all.

That is more than a journaling file system loses, which keeps the order of all folders' changes.
"""

from __future__ import annotations

import os
import pathlib
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECTOR_BYTES = 512
_WRITING = os.O_CREAT


@dataclass(slots=True)
class _Node:
    """A file, folder or link as the disk may have it. `synced` is a file's content at its last fsync, `last` when it was last seen."""

    kind: str
    synced: bytes = b""
    last: bytes = b""
    target: str = ""
    mode: int = 0o644
    entries: dict[str, _Node] = field(default_factory=dict)


@dataclass(slots=True)
class _Change:
    """An entry of a folder that was set or removed (`node` None). Changes of one rename share their `pair`."""

    folder: _Node
    name: str
    node: _Node | None
    pair: int


class Disk:
    """Records the changes below `root`; `point` is called before each of them."""

    def __init__(self, root: Path, point: Callable[[], None]) -> None:
        self._root = str(root)
        self._point = point
        self._real: dict[str, Any] = {}
        self._is_on = False
        self._pairs = 0

    # --- recording ---

    def begin(self) -> None:
        """From here on; what is there now is safe."""
        self._nodes: dict[int, _Node] = {}
        self._pending: list[_Change] = []
        self._top = self._scan(self._root)
        self._is_on = True

    def end(self) -> None:
        self._is_on = False

    def _scan(self, path: str) -> _Node:
        found = os.lstat(path)
        if os.path.islink(path):
            return _Node("link", target=os.readlink(path))
        if os.path.isdir(path):
            node = _Node("folder")
            node.entries = {name: self._scan(f"{path}/{name}") for name in os.listdir(path)}
        else:
            known = self._nodes.get(found.st_ino)
            if known is not None:
                return known
            data = Path(path).read_bytes()
            node = _Node("file", data, data, mode=found.st_mode & 0o777)
        self._nodes[found.st_ino] = node
        return node

    def _node(self, path: str) -> _Node:
        """The node of a path that exists; one that came without our noticing is new, and nothing of it is safe."""
        if os.path.islink(path):
            return _Node("link", target=os.readlink(path))
        found = os.lstat(path)
        node = self._nodes.get(found.st_ino)
        if node is None:
            node = self._nodes[found.st_ino] = _Node("folder" if os.path.isdir(path) else "file", mode=found.st_mode & 0o777)
        return node

    def _see(self, path: str) -> None:
        """Remember a file's present content: soon nobody may read it any more."""
        if os.path.isfile(path) and not os.path.islink(path):
            self._node(path).last = Path(path).read_bytes()

    def _set(self, path: str, node: _Node | None, pair: int | None = None) -> None:
        if pair is None:
            self._pairs += 1
            pair = self._pairs
        folder, _, name = path.rpartition("/")
        self._pending.append(_Change(self._node(folder), name, node, pair))

    def _leave(self, path: str) -> None:
        """The last name of a file goes: its number may be used again."""
        self._see(path)
        found = os.lstat(path)
        if not os.path.isdir(path) and found.st_nlink == 1:
            self._nodes.pop(found.st_ino, None)

    def install(self, patch: Callable[[Any, str, Any], None]) -> None:
        """Wrap the functions of `os`; `patch` sets an attribute, and whoever gave it takes it back."""
        self._real = {
            name: getattr(os, name)
            for name in ("open", "fsync", "rename", "unlink", "mkdir", "rmdir", "symlink", "link", "pwrite", "write", "ftruncate")
        }
        wrappers = {
            "open": self._open, "fsync": self._fsync, "rename": self._rename, "unlink": self._unlink, "mkdir": self._mkdir, "rmdir": self._rmdir,
            "symlink": self._symlink, "link": self._link,
        }  # fmt: skip
        accessor = getattr(pathlib, "_normal_accessor", None)  # Python 3.10 has taken its functions at import
        for name, wrapper in wrappers.items():
            patch(os, name, wrapper)
            if accessor is not None and hasattr(accessor, name):
                patch(accessor, name, wrapper)
        for name in ("pwrite", "write", "ftruncate"):
            patch(os, name, self._by_descriptor(self._real[name]))

    def _is_ours(self, path: str) -> bool:
        return self._is_on and path.startswith(self._root + "/")

    def _path(self, path: Any, folder: int | None = None) -> str:
        text: str = os.fspath(path)
        return text if folder is None else f"{os.readlink(f'/proc/self/fd/{folder}')}/{text}"

    def _by_descriptor(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(descriptor: int, *arguments: Any) -> Any:
            if self._is_on and self._is_ours(_path_of(descriptor)):
                self._point()
            return function(descriptor, *arguments)

        return wrapped

    def _open(self, path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        text = self._path(path, options.get("dir_fd"))
        is_new = flags & _WRITING and self._is_ours(text) and not os.path.lexists(text)
        if is_new:
            self._point()
        descriptor: int = self._real["open"](path, flags, *arguments, **options)
        if is_new:
            self._nodes.pop(os.lstat(text).st_ino, None)
            self._set(text, self._node(text))
        return descriptor

    def _fsync(self, descriptor: int) -> None:
        path = _path_of(descriptor)
        if not self._is_on or not (self._is_ours(path) or path == self._root):
            return
        self._point()
        node = self._node(path)
        if node.kind == "file":
            node.synced = node.last = Path(path).read_bytes()
            return
        # An entry may be another folder's half of a rename: both are on disk then.
        pairs = {change.pair for change in self._pending if change.folder is node}
        self._note_unseen(path, node)
        for change in [change for change in self._pending if change.pair in pairs or change.folder is node]:
            _apply(change)
            self._pending.remove(change)

    def _rename(self, source: Any, target: Any, **options: Any) -> None:
        old, new = os.fspath(source), os.fspath(target)
        if not self._is_ours(new):
            self._real["rename"](source, target, **options)
            return
        self._point()
        node = self._node(old)
        if os.path.lexists(new) and not os.path.isdir(new):
            self._leave(new)
        self._real["rename"](source, target, **options)
        self._pairs += 1
        self._set(old, None, self._pairs)
        self._set(new, node, self._pairs)

    def _unlink(self, path: Any, **options: Any) -> None:
        text = self._path(path, options.get("dir_fd"))
        if self._is_ours(text) and os.path.lexists(text):
            self._point()
            self._leave(text)
            self._real["unlink"](path, **options)
            self._set(text, None)
        else:
            self._real["unlink"](path, **options)

    def _mkdir(self, path: Any, *arguments: Any, **options: Any) -> None:
        text = self._path(path, options.get("dir_fd"))
        is_new = self._is_ours(text) and not os.path.lexists(text)
        if is_new:
            self._point()
        self._real["mkdir"](path, *arguments, **options)
        if is_new:
            self._nodes.pop(os.lstat(text).st_ino, None)
            self._set(text, self._node(text))

    def _rmdir(self, path: Any, **options: Any) -> None:
        text = self._path(path, options.get("dir_fd"))
        if self._is_ours(text):
            self._point()
        self._real["rmdir"](path, **options)
        if self._is_ours(text):
            self._set(text, None)

    def _symlink(self, source: Any, target: Any, *arguments: Any, **options: Any) -> None:
        text = os.fspath(target)
        if self._is_ours(text):
            self._point()
        self._real["symlink"](source, target, *arguments, **options)
        if self._is_ours(text):
            self._set(text, self._node(text))

    def _link(self, source: Any, target: Any, **options: Any) -> None:
        text = os.fspath(target)
        if self._is_ours(text):
            self._point()
        self._real["link"](source, target, **options)
        if self._is_ours(text):
            self._set(text, self._node(text))

    def _note_unseen(self, path: str, folder: _Node) -> None:
        """Entries that C code made: they are changes like others."""
        state = dict(folder.entries)
        for change in self._pending:
            if change.folder is folder:
                _apply_to(state, change)
        for name in os.listdir(path):
            if name not in state:
                self._set(f"{path}/{name}", self._node(f"{path}/{name}"))

    # --- the cut ---

    def cut(self, chance: random.Random) -> None:
        """Replace the folder by what a power cut may leave of it, and end the recording."""
        self._is_on = False
        for root, _, names in os.walk(self._root):
            self._note_unseen(root, self._node(root))
            for name in names:
                self._see(f"{root}/{name}")
        for change in self._survivors(chance):
            _apply(change)
        shutil.rmtree(self._root)
        self._write(self._root, self._top, chance)

    def _survivors(self, chance: random.Random) -> list[_Change]:
        """For each folder the first so many of its changes; more of them where a rename would be halved."""
        folders = {id(change.folder): change.folder for change in self._pending}
        kept: dict[int, int] = {}
        for key in folders:
            count = sum(id(change.folder) == key for change in self._pending)
            kept[key] = chance.choice((0, count, chance.randint(0, count)))
        while True:
            chosen, seen, pairs = [], dict.fromkeys(folders, 0), set()
            for change in self._pending:
                seen[id(change.folder)] += 1
                if seen[id(change.folder)] <= kept[id(change.folder)]:
                    chosen.append(change)
                    pairs.add(change.pair)
            halved = [change for change in self._pending if change.pair in pairs and change not in chosen]
            if not halved:
                return chosen
            for change in halved:
                mine = [other for other in self._pending if other.folder is change.folder]
                kept[id(change.folder)] = max(kept[id(change.folder)], 1 + next(n for n, other in enumerate(mine) if other is change))

    def _write(self, path: str, node: _Node, chance: random.Random) -> None:
        if node.kind == "link":
            os.symlink(node.target, path)
        elif node.kind == "folder":
            self._real["mkdir"](path)
            for name, child in node.entries.items():
                self._write(f"{path}/{name}", child, chance)
        else:
            Path(path).write_bytes(torn(node.synced, node.last, chance))
            os.chmod(path, node.mode)


def torn(synced: bytes, last: bytes, chance: random.Random) -> bytes:
    """What a file may hold after a cut: the synced content, the last one, or sectors of both."""
    if synced == last:
        return synced
    kind = chance.randrange(4)
    if kind < 2:
        return (synced, last)[kind]
    size = chance.choice((len(synced), len(last), chance.randint(0, max(len(synced), len(last)))))
    pieces = []
    for start in range(0, size, SECTOR_BYTES):
        piece = chance.choice((synced, last))[start : min(size, start + SECTOR_BYTES)]
        pieces.append(piece.ljust(min(SECTOR_BYTES, size - start), b"\0"))
    return b"".join(pieces)


def _apply(change: _Change) -> None:
    _apply_to(change.folder.entries, change)


def _apply_to(entries: dict[str, _Node], change: _Change) -> None:
    if change.node is None:
        entries.pop(change.name, None)
    else:
        entries[change.name] = change.node


def _path_of(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""
