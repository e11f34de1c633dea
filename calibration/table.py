"""The range table: tensor → clip range, the result of calibration. A value with a digest; saved as JSON.

One table serves every dialect: it says which real interval each tensor's codes cover, and nothing about codes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ..core.digest import digest_of_bytes
from ..core.errors import Rejected
from ..core.files import write_atomic

MAX_TABLE_BYTES = 64 << 20


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The interval that a tensor's codes cover, how it was chosen, and how many samples were seen."""

    low: float
    high: float
    method: str
    samples: int


class RangeTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Ranges by tensor name, of the model with the digest `model`."""

    v: int = 1
    model: str
    ranges: dict[str, Range]

    @property
    def digest(self) -> str:
        return digest_of_bytes(self.encode())

    def encode(self) -> bytes:
        """Canonical bytes: equal tables are equal files."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=1)

    def check(self, model: str, tensors: Sequence[str]) -> None:
        """Hold the table against the model with the digest `model`, of which `tensors` need ranges.

        Raises:
            Rejected: ``table-mismatch``.
        """
        if self.model != model:
            raise Rejected("table-mismatch", "the range table is of another model", "Calibrate this model, or give its own ranges.json")
        missing = next((name for name in tensors if name not in self.ranges), None)
        if missing is not None:
            raise Rejected("table-mismatch", f"the range table has no range of {missing!r}", "It is from another version: calibrate again")

    def save(self, path: Path) -> None:
        write_atomic(path, self.encode())


def load_table(path: Path) -> RangeTable:
    """Read a table.

    Raises:
        Rejected: ``table-unreadable``.
    """
    hint = "Calibrate again"
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise Rejected("table-unreadable", f"{path.name} is too large for a range table", hint)
        table = msgspec.json.decode(path.read_bytes(), type=RangeTable)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Rejected("table-unreadable", f"{path.name} is not a range table: {error}", hint) from error
    if table.v != 1:
        raise Rejected("table-unreadable", f"{path.name} has version {table.v}", hint)
    for name, entry in table.ranges.items():
        if not (math.isfinite(entry.low) and math.isfinite(entry.high) and entry.low <= entry.high):
            raise Rejected("table-unreadable", f"the range of {name!r} in {path.name} is not an interval", hint)
    return table


def merge_tables(tables: list[RangeTable]) -> RangeTable:
    """The union of ranges that several devices found for the same model.

    Raises:
        Rejected: ``table-mismatch`` when they are of different models.
    """
    first = tables[0]
    ranges = dict(first.ranges)
    for table in tables[1:]:
        if table.model != first.model:
            raise Rejected("table-mismatch", "the range tables are of different models", "Merge tables of one model only")
        for name, entry in table.ranges.items():
            known = ranges.get(name, entry)
            low, high = min(known.low, entry.low), max(known.high, entry.high)
            samples = known.samples + entry.samples if name in ranges else entry.samples
            ranges[name] = Range(low, high, known.method, samples)
    return RangeTable(model=first.model, ranges=ranges)


def drift(old: RangeTable, new: RangeTable) -> dict[str, float]:
    """How far each range moved: 1 − overlap/union of the two intervals, 0 = unchanged, 1 = disjoint.

    Raises:
        Rejected: ``table-mismatch`` when they are of different models.
    """
    if old.model != new.model:
        raise Rejected("table-mismatch", "the range tables are of different models", "Compare tables of one model only")
    moved = {}
    for name in old.ranges.keys() & new.ranges.keys():
        a, b = old.ranges[name], new.ranges[name]
        union = max(a.high, b.high) - min(a.low, b.low)
        overlap = max(0.0, min(a.high, b.high) - max(a.low, b.low))
        moved[name] = 1 - overlap / union if union > 0 else 0.0
    return moved
