"""A support bundle: named texts, each without secrets and of bounded size, in one ``.tar.gz``; what could not be had is listed with its reason."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..core.errors import EdgewrightError, Rejected

MAX_PIECE_BYTES = 1 << 20
MAX_BUNDLE_BYTES = 8 << 20
"""Of all pieces together, before they are compressed: at most so much comes out too."""
CONTENTS = "CONTENTS.txt"
Keep = Literal["start", "end"]


@dataclass(frozen=True, slots=True)
class Piece:
    """One file of a bundle. `is_cut` says that it was longer."""

    name: str
    what: str
    data: bytes
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Missing:
    """What should be in a bundle and is not."""

    name: str
    why: str


class Bundle:
    """Filled piece by piece, then written. `scrub` takes the secrets out of every text."""

    def __init__(self, scrub: Callable[[str], str]) -> None:
        self._scrub = scrub
        self.pieces: list[Piece] = []
        self.missing: list[Missing] = []

    @property
    def size_bytes(self) -> int:
        return sum(len(piece.data) for piece in self.pieces)

    def add(self, name: str, what: str, make: Callable[[], str | bytes], keep: Keep = "start") -> None:
        """Add what `make` returns; when that fails, why. Of a text that is too long `keep` says which end stays."""
        try:
            made = make()
        except EdgewrightError as error:
            self._miss(name, error.reason.line())
        except OSError as error:
            self._miss(name, f"{error.filename or name}: {error.strerror or error}")
        except Exception as error:  # the fault that is being reported may be met here: the rest is wanted all the same
            self._miss(name, f"{type(error).__name__}: {error}")
        else:
            text = made.decode("utf-8", "replace") if isinstance(made, bytes) else made
            self._keep(name, what, self._scrub(text).encode("utf-8", "replace"), keep)

    def _keep(self, name: str, what: str, data: bytes, keep: Keep) -> None:
        room = min(MAX_PIECE_BYTES, MAX_BUNDLE_BYTES - self.size_bytes)
        kept = data if len(data) <= room else data[:room] if keep == "start" else data[-room:] if room else b""
        self.pieces.append(Piece(name, what, kept, len(kept) < len(data)))

    def _miss(self, name: str, why: str) -> None:
        self.missing.append(Missing(name, self._scrub(why)))

    def contents(self) -> str:
        """What is inside, for a person who decides whether to send it."""
        lines = ["What is in this bundle. Passwords, keys and tokens are left out, as are the arguments of the owner's commands.", ""]
        lines += [f"{piece.name:<24} {len(piece.data):>8} bytes  {piece.what}{' (cut)' if piece.is_cut else ''}" for piece in self.pieces]
        if self.missing:
            lines += ["", "What is not:", *(f"{entry.name:<24} {entry.why}" for entry in self.missing)]
        return "\n".join(lines) + "\n"

    def write(self, path: Path) -> int:
        """Write the bundle, for this user's eyes; returns its size.

        Raises:
            Rejected: ``out-exists`` or ``out-unwritable``.
        """
        data = self._packed(path.name.removesuffix(".tar.gz"))
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(data)
        except FileExistsError as error:
            raise Rejected("out-exists", f"{path} is there already", "Give --out another name") from error
        except OSError as error:
            raise Rejected("out-unwritable", f"{path} cannot be written: {error.strerror}", "Give --out a file that this user may write") from error
        return len(data)

    def _packed(self, folder: str) -> bytes:
        out, now_s = io.BytesIO(), int(time.time())
        contents = Piece(CONTENTS, "", self.contents().encode(), is_cut=False)
        with gzip.GzipFile(fileobj=out, mode="wb", mtime=now_s) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
            for piece in (contents, *self.pieces):
                entry = tarfile.TarInfo(f"{folder}/{piece.name}")
                entry.size, entry.mtime, entry.mode = len(piece.data), now_s, 0o600
                tar.addfile(entry, io.BytesIO(piece.data))
        return out.getvalue()
