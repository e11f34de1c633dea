"""The tables of rollouts and of what they are judged by."""

from __future__ import annotations

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from .tables import Table


class RolloutRow(Table):
    """One deployment on its way to many devices. `plan` and `selector` never change; the rest is where it stands (`rollout`).

    `wave` is the one that is open, from 0; `approved` the last one that a person has let through, -1 = none; `forgiven` the number of failures that a
    person has accepted. `ended_s` is None while the controller still has work with it, which may be a little longer than its state is open.
    """

    __tablename__ = "rollouts"

    id: Mapped[str] = mapped_column(primary_key=True)
    deployment: Mapped[str] = mapped_column(index=True)
    model: Mapped[str]
    created_s: Mapped[float]
    created_by: Mapped[str]
    plan: Mapped[bytes]
    selector: Mapped[bytes]
    state: Mapped[str] = mapped_column(index=True)
    wave: Mapped[int] = mapped_column(default=0)
    approved: Mapped[int] = mapped_column(default=-1)
    forgiven: Mapped[int] = mapped_column(default=0)
    reason: Mapped[bytes | None] = mapped_column(default=None)
    updated_s: Mapped[float] = mapped_column(default=0.0)
    ended_s: Mapped[float | None] = mapped_column(default=None, index=True)


class WaveRow(Table):
    """One wave. `last_hash` is its upper bound in the order of hashes: who joins later finds its wave by it. `evidence` is what decided it."""

    __tablename__ = "rollout_waves"

    rollout: Mapped[str] = mapped_column(primary_key=True)
    wave: Mapped[int] = mapped_column(primary_key=True)
    size: Mapped[int]
    last_hash: Mapped[str]
    opened_s: Mapped[float | None] = mapped_column(default=None)
    ended_s: Mapped[float | None] = mapped_column(default=None)
    evidence: Mapped[bytes | None] = mapped_column(default=None)


class MemberRow(Table):
    """One device of a rollout. `released_s` is None until its goal was changed; `previous` is the deployment that was its goal before, None = none.

    `undone_s` says when that goal was given back to it.
    """

    __tablename__ = "rollout_members"

    rollout: Mapped[str] = mapped_column(primary_key=True)
    device: Mapped[str] = mapped_column(primary_key=True)
    wave: Mapped[int]
    released_s: Mapped[float | None] = mapped_column(default=None)
    previous: Mapped[str | None] = mapped_column(default=None)
    previous_retry: Mapped[int] = mapped_column(default=0)
    retries: Mapped[int] = mapped_column(default=0)
    undone_s: Mapped[float | None] = mapped_column(default=None)

    __table_args__ = (Index("rollout_members_by_wave", "rollout", "wave", "released_s"), Index("rollout_members_by_device", "device"))


class MeasurementRow(Table):
    """What one device measured for one deployment: the chosen engine beside FP32, flat, for statistics over a fleet. None = not measured."""

    __tablename__ = "measurements"

    deployment: Mapped[str] = mapped_column(primary_key=True)
    device: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    time_s: Mapped[float]
    hardware_class: Mapped[str]
    accepted: Mapped[bool]
    candidate: Mapped[str]
    backend: Mapped[str]
    size_bytes: Mapped[int | None] = mapped_column(default=None)
    latency_p50_ms: Mapped[float | None] = mapped_column(default=None)
    latency_p99_ms: Mapped[float | None] = mapped_column(default=None)
    energy_mj: Mapped[float | None] = mapped_column(default=None)
    power_mw: Mapped[float | None] = mapped_column(default=None)
    top1: Mapped[float | None] = mapped_column(default=None)
    agreement: Mapped[float | None] = mapped_column(default=None)
    sqnr_db: Mapped[float | None] = mapped_column(default=None)
    fp32_size_bytes: Mapped[int | None] = mapped_column(default=None)
    fp32_latency_p50_ms: Mapped[float | None] = mapped_column(default=None)
    fp32_latency_p99_ms: Mapped[float | None] = mapped_column(default=None)
    fp32_energy_mj: Mapped[float | None] = mapped_column(default=None)
    fp32_top1: Mapped[float | None] = mapped_column(default=None)

    __table_args__ = (Index("measurements_by_device", "device", "time_s"),)
