"""The whole fleet at one look: who is there, how far the goals are, and why devices refused. Reads only; a handful of statements for any fleet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec
from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from ..core.errors import Family, Reason
from .database import Database
from .inventory import ClassCount
from .rollout_tables import RolloutRow
from .tables import CommandRow, Device, Goal, Target

EXPIRING_S = 30 * 86400.0
MAX_REASONS = 20_000
MAX_REFUSALS = 50


class StateCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many goals of devices are in a state; an empty state = nothing was heard of it yet."""

    state: str
    goals: int


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """One code for which devices refused or failed what is their goal now: an example's words, and how many there are."""

    code: str
    family: Family
    message: str
    next: str
    devices: int
    example: str


class FleetOverview(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet as it is now. `classes` counts enrolled devices by hardware class."""

    devices: int
    online: int
    never_seen: int
    retired: int
    expiring_certificates: int
    unsent_goals: int
    open_commands: int
    classes: tuple[ClassCount, ...]
    states: tuple[StateCount, ...]
    refusals: tuple[Refusal, ...]
    rollouts: dict[str, int]


class Overview:
    """Looks at the whole fleet."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def look(self, now_s: float) -> FleetOverview:
        with self._database.reading() as session:
            classes = _classes(session)
            never_seen, retired, expiring, unsent = _counts(session, now_s)
            return FleetOverview(
                devices=sum(entry.devices for entry in classes),
                online=sum(entry.online for entry in classes),
                never_seen=never_seen,
                retired=retired,
                expiring_certificates=expiring,
                unsent_goals=unsent,
                open_commands=session.scalar(select(func.count()).select_from(CommandRow).where(CommandRow.sent_s.is_(None))) or 0,
                classes=tuple(classes),
                states=tuple(_states(session)),
                refusals=tuple(summed_refusals(_reasons(session))),
                rollouts=_rollouts(session),
            )


def summed_refusals(reasons: Iterable[tuple[str, Reason]]) -> list[Refusal]:
    """Reasons of devices by code, the most frequent first; at most `MAX_REFUSALS`."""
    counts: Counter[str] = Counter()
    examples: dict[str, tuple[str, Reason]] = {}
    for device, reason in reasons:
        counts[reason.code] += 1
        examples.setdefault(reason.code, (device, reason))
    found = []
    for code, devices in counts.most_common(MAX_REFUSALS):
        example, reason = examples[code]
        found.append(
            Refusal(code=code, family=reason.family, message=reason.message, next=reason.next, devices=devices, example=example),
        )
    return found


def _classes(session: Session) -> list[ClassCount]:
    online = func.sum(case((Device.online, 1), else_=0))
    query = select(Device.hardware_class, func.count(), online).where(Device.retired_s.is_(None)).group_by(Device.hardware_class)
    rows = session.execute(query.order_by(func.count().desc(), Device.hardware_class))
    return [ClassCount(hardware_class=name, devices=count, online=int(up or 0)) for name, count, up in rows]


def _rollouts(session: Session) -> dict[str, int]:
    rows = session.execute(select(RolloutRow.state, func.count()).group_by(RolloutRow.state).order_by(RolloutRow.state))
    return {state: count for state, count in rows}  # noqa: C416 - rows are no pairs to mypy


def _counts(session: Session, now_s: float) -> tuple[int, int, int, int]:
    """Devices that were never seen, that are retired, whose certificates expire soon, whose goals wait: one look at every row, not four."""
    here = Device.retired_s.is_(None)
    conditions = (
        here & Device.seen_s.is_(None),
        Device.retired_s.is_not(None),
        here & (Device.certificate_expires_s < now_s + EXPIRING_S),
        here & Device.unsent_s.is_not(None),
    )
    found = session.execute(select(*(func.coalesce(func.sum(case((condition, 1), else_=0)), 0) for condition in conditions))).one()
    never_seen, retired, expiring, unsent = (int(number) for number in found)
    return never_seen, retired, expiring, unsent


def _states(session: Session) -> list[StateCount]:
    is_its = (Target.deployment == Goal.deployment) & (Target.device == Goal.device)
    query = select(Target.state, func.count()).select_from(Goal).outerjoin(Target, is_its).group_by(Target.state)
    return [StateCount(state=name or "", goals=count) for name, count in session.execute(query.order_by(func.count().desc(), Target.state))]


def _reasons(session: Session) -> list[tuple[str, Reason]]:
    is_its = (Target.deployment == Goal.deployment) & (Target.device == Goal.device)
    query = select(Goal.device, Target.reason).join(Target, is_its).where(Target.reason.is_not(None)).order_by(Goal.device).limit(MAX_REASONS)
    return [(device, msgspec.json.decode(reason, type=Reason)) for device, reason in session.execute(query) if reason is not None]
