"""What every variant costs on this device: measured once, kept on disk under the device's fingerprint, extended and never repeated.

The file of one device may be given to any other of the same fingerprint (`CostTable.merged`): the fingerprint holds the processor, the runtime's
version, the power mode and the threads, that is, all that would make the numbers wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ...core.errors import Rejected
from ...core.files import write_atomic
from .plan import Variant

VERSION = 1
# A median whose interval is wider was taken at an uneasy time: the next run takes it again.
MAX_SPREAD = 0.1
MAX_TABLE_BYTES = 16 << 20


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The median of one inference, half the width of its 95 % interval, and the energy where a sensor could tell it."""

    ms: float
    spread_ms: float
    energy_mj: float | None = None

    @property
    def is_sure(self) -> bool:
        return self.spread_ms <= MAX_SPREAD * self.ms


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    version: int
    device: str
    costs: dict[str, Cost]


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
            return cls(device, path, dict(_read(path, device).costs))
        except Rejected:
            return cls(device, path)

    def get(self, variant: Variant) -> Cost | None:
        return self._costs.get(variant.key)

    def add(self, found: Mapping[Variant, Cost]) -> None:
        """Take in new costs and keep them on disk: what was measured survives whatever comes next."""
        self._costs.update({variant.key: cost for variant, cost in found.items()})
        self._fresh.update(variant.key for variant in found)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path, msgspec.json.encode(_File(version=VERSION, device=self.device, costs=self._costs)))

    def merge_file(self, path: Path) -> int:
        """Take what an identical device has measured; what is known here stays. Returns how many costs were new.

        Raises:
            Rejected: ``costs-unreadable``, or ``costs-of-another-device``.
        """
        new = {key: cost for key, cost in _read(path, self.device).costs.items() if key not in self._costs}
        self._costs.update(new)
        self.add({})
        return len(new)

    def missing(self, variants: Iterator[Variant]) -> tuple[Variant, ...]:
        """Those that were never measured, or only at an uneasy time before this run; each once, in order."""
        return tuple(dict.fromkeys(variant for variant in variants if not self._is_known(variant.key)))

    def _is_known(self, key: str) -> bool:
        return key in self._costs and (key in self._fresh or self._costs[key].is_sure)

    def __len__(self) -> int:
        return len(self._costs)


def _read(path: Path, device: str) -> _File:
    hint = "Delete it; it is measured again"
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise Rejected("costs-unreadable", f"{path.name} is larger than {MAX_TABLE_BYTES} bytes", hint)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_File)
    except msgspec.DecodeError as error:
        raise Rejected("costs-unreadable", f"{path.name} is no table of costs: {error}", hint) from error
    if found.version != VERSION:
        raise Rejected("costs-unreadable", f"{path.name} has version {found.version}, this program writes {VERSION}", hint)
    if found.device != device:
        raise Rejected("costs-of-another-device", f"{path.name} was measured on another device, runtime or power mode", "Measure here")
    return found
