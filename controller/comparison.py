"""FP32 beside the engines that devices measured and chose, over many devices: medians per class, and which engines nothing else beats."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import msgspec
from sqlalchemy import select

from ..core.wire.messages import Measurement
from .database import Database
from .rollout_tables import MeasurementRow
from .tables import Device, Goal, Target

FP32 = "fp32"
CHOSEN = "chosen"
MAX_LOOKED_AT = 500


class EngineMedians(msgspec.Struct, frozen=True, kw_only=True):
    """One engine on one hardware class: medians over the `devices` that chose it, or for FP32 that measured it. None = not measured.

    `top1`, `agreement` and `sqnr_db` are against FP32 on the same samples.
    """

    hardware_class: str
    engine: str
    backend: str
    devices: int
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    energy_mj: float | None
    size_bytes: float | None
    top1: float | None
    agreement: float | None
    sqnr_db: float | None


class EnginePoint(msgspec.Struct, frozen=True, kw_only=True):
    """One engine that devices of a class measured, chosen or not: medians over `devices`. `is_best`: no other is as quick and as faithful."""

    hardware_class: str
    engine: str
    devices: int
    chosen_by: int
    latency_p50_ms: float
    sqnr_db: float | None
    agreement: float | None
    is_best: bool = False


class Comparison:
    """Reads what a deployment's devices measured."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_deployment(self, deployment: str) -> list[EngineMedians]:
        """By hardware class: FP32 first, then what was chosen, the most frequent first."""
        query = select(*(getattr(MeasurementRow, name) for name in _Row._fields)).where(MeasurementRow.deployment == deployment)
        with self._database.reading() as session:
            rows = [_Row(*row) for row in session.execute(query)]
        return compare(rows)

    def of_goals(self) -> list[EngineMedians]:
        """What devices measured for what is their goal now, by hardware class: FP32, and whatever they chose, as ``chosen``."""
        is_its = (Goal.deployment == MeasurementRow.deployment) & (Goal.device == MeasurementRow.device)
        query = select(*(getattr(MeasurementRow, name) for name in _Row._fields)).join(Goal, is_its)
        with self._database.reading() as session:
            rows = [_Row(*row)._replace(candidate=CHOSEN, backend="") for row in session.execute(query)]
        return compare(rows)

    def points(self, deployment: str) -> list[EnginePoint]:
        """Every engine that the deployment's devices measured; of a large fleet, those of the first `MAX_LOOKED_AT` devices."""
        query = (
            select(Device.hardware_class, Target.measurement)
            .join(Device, Device.name == Target.device)
            .where(Target.deployment == deployment, Target.measurement.is_not(None))
            .order_by(Target.device)
            .limit(MAX_LOOKED_AT)
        )
        with self._database.reading() as session:
            told = [(name, msgspec.json.decode(body, type=Measurement)) for name, body in session.execute(query) if body is not None]
        return front(told)


def front(told: Sequence[tuple[str, Measurement]]) -> list[EnginePoint]:
    """Medians of every engine by class, the quickest first. Pure."""
    seen: dict[tuple[str, str], list[_Seen]] = {}
    for hardware_class, measurement in told:
        chosen = None if measurement.chosen is None else measurement.chosen.name
        for rival in measurement.rivals:
            if rival.latency_p50_ms is not None:
                one = _Seen(rival.latency_p50_ms, rival.sqnr_db, rival.agreement, rival.name == chosen)
                seen.setdefault((hardware_class, rival.name), []).append(one)
    points = [
        EnginePoint(
            hardware_class=hardware_class,
            engine=engine,
            devices=len(entries),
            chosen_by=sum(entry.is_chosen for entry in entries),
            latency_p50_ms=median(entry.latency_p50_ms for entry in entries),
            sqnr_db=_median([entry.sqnr_db for entry in entries]),
            agreement=_median([entry.agreement for entry in entries]),
        )
        for (hardware_class, engine), entries in sorted(seen.items())
    ]
    found = [msgspec.structs.replace(one, is_best=not any(_beats(other, one) for other in points)) for one in points]
    return sorted(found, key=lambda one: (one.hardware_class, one.latency_p50_ms))


class _Seen(NamedTuple):
    latency_p50_ms: float
    sqnr_db: float | None
    agreement: float | None
    is_chosen: bool


class _Row(NamedTuple):
    hardware_class: str
    candidate: str
    backend: str
    size_bytes: int | None
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    energy_mj: float | None
    top1: float | None
    agreement: float | None
    sqnr_db: float | None
    fp32_size_bytes: int | None
    fp32_latency_p50_ms: float | None
    fp32_latency_p99_ms: float | None
    fp32_energy_mj: float | None
    fp32_top1: float | None


def compare(rows: Sequence[_Row]) -> list[EngineMedians]:
    """The medians of every class and engine. Pure."""
    found: list[EngineMedians] = []
    for hardware_class in sorted({row.hardware_class for row in rows}):
        of_class = [row for row in rows if row.hardware_class == hardware_class]
        by_engine: dict[tuple[str, str], list[_Row]] = {}
        for row in of_class:
            if row.candidate != FP32:
                by_engine.setdefault((row.candidate, row.backend), []).append(row)
        engines = sorted(by_engine.items(), key=lambda entry: (-len(entry[1]), entry[0]))
        found += [_reference(hardware_class, of_class), *(_chosen(hardware_class, *key, entries) for key, entries in engines)]
    return found


def _reference(hardware_class: str, rows: list[_Row]) -> EngineMedians:
    return EngineMedians(
        hardware_class=hardware_class,
        engine=FP32,
        backend="",
        devices=len(rows),
        latency_p50_ms=_median([row.fp32_latency_p50_ms for row in rows]),
        latency_p99_ms=_median([row.fp32_latency_p99_ms for row in rows]),
        energy_mj=_median([row.fp32_energy_mj for row in rows]),
        size_bytes=_median([row.fp32_size_bytes for row in rows]),
        top1=_median([row.fp32_top1 for row in rows]),
        agreement=1.0,
        sqnr_db=None,
    )


def _chosen(hardware_class: str, engine: str, backend: str, rows: list[_Row]) -> EngineMedians:
    return EngineMedians(
        hardware_class=hardware_class,
        engine=engine,
        backend=backend,
        devices=len(rows),
        latency_p50_ms=_median([row.latency_p50_ms for row in rows]),
        latency_p99_ms=_median([row.latency_p99_ms for row in rows]),
        energy_mj=_median([row.energy_mj for row in rows]),
        size_bytes=_median([row.size_bytes for row in rows]),
        top1=_median([row.top1 for row in rows]),
        agreement=_median([row.agreement for row in rows]),
        sqnr_db=_median([row.sqnr_db for row in rows]),
    )


def _beats(other: EnginePoint, one: EnginePoint) -> bool:
    """Whether `other` is at least as quick and as faithful on the same class, and one of both better. FP32 is faithful without limit."""
    if other.hardware_class != one.hardware_class:
        return False
    left, right = _faithfulness(other), _faithfulness(one)
    at_least = other.latency_p50_ms <= one.latency_p50_ms and left >= right
    return at_least and (other.latency_p50_ms < one.latency_p50_ms or left > right)


def _faithfulness(one: EnginePoint) -> float:
    if one.engine == FP32:
        return float("inf")
    return one.sqnr_db if one.sqnr_db is not None else float("-inf")


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
