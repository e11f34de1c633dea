"""Measurements as one flat row per deployment and device: written when a device tells them, read by whatever looks at many devices."""

from __future__ import annotations

import msgspec
from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session, aliased

from ..core.measurement import Candidate
from ..core.wire.messages import Measurement
from .database import Database
from .evidence import Figures, Measured
from .rollout_tables import MeasurementRow, MemberRow
from .tables import Device


class MeasurementView(msgspec.Struct, frozen=True, kw_only=True):
    """What one device measured for one deployment: the chosen engine, and FP32 beside it. None = not measured."""

    deployment: str
    device: str
    attempt: int
    time_s: float
    hardware_class: str
    accepted: bool
    candidate: str
    backend: str
    size_bytes: int | None
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    energy_mj: float | None
    power_mw: float | None
    top1: float | None
    agreement: float | None
    sqnr_db: float | None
    fp32_size_bytes: int | None
    fp32_latency_p50_ms: float | None
    fp32_latency_p99_ms: float | None
    fp32_energy_mj: float | None
    fp32_top1: float | None


def keep_measurement(session: Session, device: Device, deployment: str, attempt: int, time_s: float, measurement: Measurement) -> None:
    """Write down what a device told; an older attempt never replaces a newer one."""
    chosen, baseline = measurement.chosen, measurement.baseline
    if chosen is None:
        return
    known = session.get(MeasurementRow, (deployment, device.name))
    if known is not None and known.attempt > attempt:
        return
    latency, energy, fidelity = chosen.latency_ms, chosen.energy_mj, chosen.fidelity
    session.merge(
        MeasurementRow(
            deployment=deployment,
            device=device.name,
            attempt=attempt,
            time_s=time_s,
            hardware_class=device.hardware_class,
            accepted=measurement.verdict is not None and measurement.verdict.accepted,
            candidate=chosen.name,
            backend=chosen.backend,
            size_bytes=chosen.size_bytes,
            latency_p50_ms=latency.p50 if latency else None,
            latency_p99_ms=latency.p99 if latency else None,
            energy_mj=energy.mean if energy else None,
            power_mw=energy.power_mw if energy else None,
            top1=fidelity.top1 if fidelity else None,
            agreement=fidelity.agreement if fidelity else None,
            sqnr_db=fidelity.sqnr_db if fidelity else None,
            fp32_size_bytes=baseline.size_bytes if baseline else None,
            fp32_latency_p50_ms=_p50(baseline),
            fp32_latency_p99_ms=baseline.latency_ms.p99 if baseline and baseline.latency_ms else None,
            fp32_energy_mj=baseline.energy_mj.mean if baseline and baseline.energy_mj else None,
            fp32_top1=fidelity.top1_fp32 if fidelity else None,
        )
    )


def _p50(candidate: Candidate | None) -> float | None:
    return candidate.latency_ms.p50 if candidate and candidate.latency_ms else None


class Measurements:
    """Reads measurements."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_deployment(self, deployment: str) -> list[MeasurementView]:
        return self._views(MeasurementRow.deployment == deployment)

    def of_device(self, device: str) -> list[MeasurementView]:
        return self._views(MeasurementRow.device == device)

    def page(
        self, *, deployment: str | None = None, device: str | None = None, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> list[MeasurementView]:
        """Those behind `after`, a deployment and a device, in the order of these two."""
        key = tuple_(MeasurementRow.deployment, MeasurementRow.device)
        query = select(MeasurementRow).where(key > after).order_by(MeasurementRow.deployment, MeasurementRow.device).limit(limit)
        if deployment is not None:
            query = query.where(MeasurementRow.deployment == deployment)
        if device is not None:
            query = query.where(MeasurementRow.device == device)
        with self._database.reading() as session:
            return [msgspec.convert(row, MeasurementView, from_attributes=True) for row in session.scalars(query)]

    def _views(self, condition: object) -> list[MeasurementView]:
        query = select(MeasurementRow).where(condition).order_by(MeasurementRow.time_s, MeasurementRow.device)  # type: ignore[arg-type] # one of two
        with self._database.reading() as session:
            return [msgspec.convert(row, MeasurementView, from_attributes=True) for row in session.scalars(query)]


def count_measured(session: Session, deployment: str) -> int:
    return session.scalar(select(func.count()).select_from(MeasurementRow).where(MeasurementRow.deployment == deployment)) or 0


def measured_of_rollout(session: Session, rollout: str, deployment: str) -> list[Measured]:
    """What the rollout's devices measured, each beside what it ran before."""
    new, old = aliased(MeasurementRow), aliased(MeasurementRow)
    query = (
        select(new, old)
        .join(MemberRow, (MemberRow.rollout == rollout) & (MemberRow.device == new.device))
        .outerjoin(old, (old.deployment == MemberRow.previous) & (old.device == new.device))
        .where(new.deployment == deployment)
    )
    return [
        Measured(hardware_class=row.hardware_class, new=_figures(row), old=None if before is None else _figures(before))
        for row, before in session.execute(query)
    ]


def _figures(row: MeasurementRow) -> Figures:
    return Figures(
        latency_p99_ms=row.latency_p99_ms,
        energy_mj=row.energy_mj,
        agreement=row.agreement,
        top1=row.top1,
        top1_fp32=row.fp32_top1,
        sqnr_db=row.sqnr_db,
    )
