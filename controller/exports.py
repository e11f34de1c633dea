"""Devices, measurements and the audit log as CSV or as lines of JSON. Written piece by piece: a fleet's size is no matter.

A cell that a spreadsheet would take for a formula begins with an apostrophe: devices wrote parts of it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Literal, get_args

import msgspec

from .audit import AuditEntry, AuditLog
from .database import Database
from .inventory import DeviceQuery, DeviceSummary, Inventory
from .measurements import Measurements, MeasurementView

ExportKind = Literal["devices", "measurements", "audit"]
ExportFormat = Literal["csv", "json"]
EXPORT_KINDS: tuple[ExportKind, ...] = get_args(ExportKind)
PAGE = 1000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_COLUMNS: dict[ExportKind, type[msgspec.Struct]] = {"devices": DeviceSummary, "measurements": MeasurementView, "audit": AuditEntry}


def export(database: Database, kind: ExportKind, form: ExportFormat) -> Iterator[str]:
    """Pieces of text. JSON is one object per line; CSV has a header, and in it labels and models are ``KEY=VALUE`` parted by blanks."""
    rows = _rows(database, kind)
    return _as_csv(kind, rows) if form == "csv" else (msgspec.json.encode(row).decode() + "\n" for row in rows)


def _rows(database: Database, kind: ExportKind) -> Iterator[msgspec.Struct]:
    if kind == "devices":
        return _devices(Inventory(database))
    return _measurements(Measurements(database)) if kind == "measurements" else _audit(AuditLog(database))


def _devices(inventory: Inventory) -> Iterator[msgspec.Struct]:
    after = ""
    while page := inventory.search(DeviceQuery(), after=after, limit=PAGE).devices:
        yield from page
        after = page[-1].name


def _measurements(measurements: Measurements) -> Iterator[msgspec.Struct]:
    after = ("", "")
    while page := measurements.page(after=after, limit=PAGE):
        yield from page
        after = (page[-1].deployment, page[-1].device)


def _audit(log: AuditLog) -> Iterator[msgspec.Struct]:
    """The latest first, as it is read everywhere."""
    before: int | None = None
    while page := log.entries(before=before, limit=PAGE):
        yield from page
        before = page[-1].id


def _as_csv(kind: ExportKind, rows: Iterator[msgspec.Struct]) -> Iterator[str]:
    names = [field.name for field in msgspec.structs.fields(_COLUMNS[kind])]
    yield _line(names)
    for row in rows:
        yield _line([_cell(getattr(row, name)) for name in names])


def _line(cells: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        value = " ".join(f"{key}={entry}" for key, entry in sorted(value.items()))
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return str(value)
