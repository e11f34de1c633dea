"""What the serving process signs with: the online key, and the trust metadata that goes with every goal. Looked at again when it was rotated."""

from __future__ import annotations

from ..core.anchor import ROOT_NAME, TARGETS_NAME
from ..core.trust import ROLE_DESIRED, Sign
from .ceremony import news
from .keys import key_path, load_signer
from .paths import FleetPaths


class Signing:
    """For one thread.

    Raises:
        Unfit: ``keys-unreadable``, ``trust-unreadable``, ``trust-invalid``.
    """

    def __init__(self, paths: FleetPaths) -> None:
        self._paths = paths
        self._mark = self._look()
        self._sign, self._metadata = load_signer(paths), news(paths)

    @property
    def metadata(self) -> tuple[str, ...]:
        return self._metadata

    def sign(self, data: bytes) -> tuple[str, str]:
        return self._sign(data)

    def has_changed(self) -> bool:
        """Whether keys or anchor are others than at the last look: then everything has to be signed anew."""
        mark = self._look()
        if mark == self._mark:
            return False
        signer: Sign = load_signer(self._paths)
        self._sign, self._metadata, self._mark = signer, news(self._paths), mark
        return True

    def _look(self) -> tuple[tuple[int, int], ...]:
        files = (self._paths.trust / ROOT_NAME, self._paths.trust / TARGETS_NAME, key_path(self._paths.keys, ROLE_DESIRED))
        found = [path.stat() if path.exists() else None for path in files]
        return tuple((0, 0) if entry is None else (entry.st_mtime_ns, entry.st_ino) for entry in found)
