"""What every variant costs on this device: measured once, kept on disk under the device's fingerprint, extended and never repeated.

The file is a `CostSheet`: that of one device may be given to any other of the same fingerprint (`merge`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from ...core.costs import MAX_SHEET_BYTES, Cost, CostSheet, sheet_from_bytes
from ...core.errors import Rejected
from ...core.files import write_atomic


class Keyed(Protocol):
    """What can be timed: `key` is the digest of all that its time depends on, but for the device."""

    @property
    def key(self) -> str: ...

    def __hash__(self) -> int: ...


Timeable = TypeVar("Timeable", bound=Keyed)


@dataclass(slots=True)
class CostTable:
    """Costs by variant for the device of this fingerprint. `path` None = kept in memory only."""

    device: str
    path: Path | None = None
    _costs: dict[str, Cost] = field(default_factory=dict)
    _fresh: set[str] = field(default_factory=set)

    @classmethod
    def load(cls, device: str, path: Path | None) -> CostTable:
        """The table in the file at `path`; empty when there is none, or when it is another device's or broken."""
        if path is None or not path.is_file():
            return cls(device, path)
        try:
            sheet = read_sheet(path)
        except Rejected:
            return cls(device, path)
        return cls(device, path, dict(sheet.costs) if sheet.device == device else {})

    def get(self, variant: Keyed) -> Cost | None:
        return self._costs.get(variant.key)

    def add(self, found: Mapping[Timeable, Cost]) -> None:
        """Take in new costs and keep them on disk: what was measured survives whatever comes next."""
        self._costs.update({variant.key: cost for variant, cost in found.items()})
        self._fresh.update(variant.key for variant in found)
        self._save()

    def merge(self, sheet: CostSheet) -> int:
        """Take what an identical device has measured; what is known here stays. Returns how many costs were new.

        Raises:
            Rejected: ``costs-of-another-device``.
        """
        before = len(self)
        self._costs = dict(self.sheet.joined(sheet).costs)
        self._save()
        return len(self) - before

    @property
    def sheet(self) -> CostSheet:
        """The table as it is now, to be given to identical devices."""
        return CostSheet(self.device, dict(self._costs))

    def missing(self, variants: Iterator[Timeable]) -> tuple[Timeable, ...]:
        """Those that were never measured, or only at an uneasy time before this run; each once, in order."""
        return tuple(dict.fromkeys(variant for variant in variants if not self._is_known(variant.key)))

    def _is_known(self, key: str) -> bool:
        return key in self._costs and (key in self._fresh or self._costs[key].is_sure)

    def _save(self) -> None:
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path, self.sheet.encode())

    def __len__(self) -> int:
        return len(self._costs)


def read_sheet(path: Path) -> CostSheet:
    """The sheet in the file at `path`.

    Raises:
        Rejected: ``costs-unreadable``.
    """
    try:
        with path.open("rb") as file:
            return sheet_from_bytes(file.read(MAX_SHEET_BYTES + 1), path.name)
    except OSError as error:
        raise Rejected(
            "costs-unreadable", f"{path.name} cannot be read: {error.strerror}", "Give a file that edgewright costs export wrote"
        ) from error
