"""What single layers cost on one kind of device, as a file that identical devices share.

Rules:
- `device` is a fingerprint of all that would make the numbers wrong elsewhere: processor, driver, backend and its version, power mode, threads;
- keys are digests of what was timed: the sheet says what something costs, never what it is;
- equal sheets are equal bytes, so that a digest names one, and a signature of the bytes vouches for it; nothing read from another device is
  taken before it is bounded and every number in it is finite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from .digest import digest_of_bytes
from .errors import Rejected

VERSION = 1
MAX_SHEET_BYTES = 16 << 20
# A median whose interval is wider was taken at an uneasy time: the next run takes it again.
MAX_SPREAD = 0.1
SUFFIX = ".costs.json"


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


@dataclass(frozen=True)
class CostSheet:
    """All that one kind of device is known to cost, by the digest of what was timed."""

    device: str
    costs: Mapping[str, Cost]

    @property
    def digest(self) -> str:
        return digest_of_bytes(self.encode())

    def encode(self) -> bytes:
        """Canonical bytes."""
        return msgspec.json.encode(_File(version=VERSION, device=self.device, costs=dict(self.costs)), order="sorted")

    def joined(self, other: CostSheet) -> CostSheet:
        """This sheet and what only `other` knows; what is known here stays.

        Raises:
            Rejected: ``costs-of-another-device``.
        """
        if other.device != self.device:
            message = "the costs were measured on another device, runtime, power mode or number of threads"
            raise Rejected("costs-of-another-device", message, "Measure here, or take them from an identical device")
        return CostSheet(self.device, {**other.costs, **self.costs})


def sheet_from_bytes(data: bytes, name: str) -> CostSheet:
    """The sheet in `data`, which a person knows as `name`.

    Raises:
        Rejected: ``costs-unreadable``.
    """
    hint = "Export it again; without it everything is measured here"
    if len(data) > MAX_SHEET_BYTES:
        raise Rejected("costs-unreadable", f"{name} is larger than {MAX_SHEET_BYTES} bytes", hint)
    try:
        found = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected("costs-unreadable", f"{name} is no table of costs: {error}", hint) from error
    if found.version != VERSION:
        raise Rejected("costs-unreadable", f"{name} has version {found.version}, this program writes {VERSION}", hint)
    if not all(_is_sound(cost) for cost in found.costs.values()):
        raise Rejected("costs-unreadable", f"{name} has a cost that no measurement can give", hint)
    return CostSheet(found.device, found.costs)


def _is_sound(cost: Cost) -> bool:
    values = (cost.ms, cost.spread_ms, 0.0 if cost.energy_mj is None else cost.energy_mj)
    return cost.ms > 0 and all(math.isfinite(value) and value >= 0 for value in values)
