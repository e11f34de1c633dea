"""Rollouts as people order and see them. Each order is one transaction, with its line in the audit log; `conductor` does the work."""

from __future__ import annotations

import time
import uuid

import msgspec
from sqlalchemy import ColumnElement, Integer, case, func, select
from sqlalchemy.orm import Session

from ..core.errors import Reason, Rejected
from ..core.nearest import nearest_hint
from ..core.wire.messages import TERMINAL_STATES, Order
from .audit import note
from .database import Database
from .evidence import Judgement
from .goals import Wanted
from .inventory import Selector, members
from .orders import Orders
from .rollout import OVER, Happening, RolloutState, WaveFacts, after
from .rollout_plan import RolloutPlan, check_plan
from .rollout_tables import MemberRow, RolloutRow, WaveRow
from .tables import Deployment, Goal, Target
from .waves import waves_of

RETRIED_STATES = ("FAILED", "TIMED_OUT", "CANCELED")
FAILED_STATES = (*RETRIED_STATES, "REJECTED")


class WaveView(msgspec.Struct, frozen=True, kw_only=True):
    """One wave as it stands; `judgement` is what its measurements came to when it was over."""

    size: int
    released: int
    succeeded: int
    failed: int
    silent: int
    replaced: int
    open: int
    opened_s: float | None
    ended_s: float | None
    judgement: Judgement | None


class RolloutView(msgspec.Struct, frozen=True, kw_only=True):
    """One rollout as it stands. `wave` is the open one, from 0."""

    rollout: str
    deployment: str
    model: str
    version: str
    state: RolloutState
    reason: Reason | None
    wave: int
    created_s: float
    created_by: str
    ended_s: float | None
    plan: RolloutPlan
    selector: Selector
    waves: tuple[WaveView, ...]

    @property
    def is_over(self) -> bool:
        return self.state in OVER and self.ended_s is not None


class MemberView(msgspec.Struct, frozen=True, kw_only=True):
    """One device of a rollout; `state` is None while it has said nothing."""

    device: str
    wave: int
    released_s: float | None
    state: str | None
    reason: Reason | None
    previous: str | None
    retries: int
    undone_s: float | None


class Rollouts:
    """Begins, orders and shows rollouts."""

    def __init__(self, database: Database, orders: Orders) -> None:
        self._database = database
        self._orders = orders

    def start(self, model: str, order: Order, selector: Selector, plan: RolloutPlan, actor: str, now_s: float) -> str:
        """Begin a rollout of a new deployment; returns its id. The controller opens the first wave, or asks for approval, at its next turn.

        Raises:
            Rejected: ``rollout-plan-malformed``, ``no-device-selected``, ``device-unknown``, ``label-malformed``, ``rollout-under-way``, and what
                `Orders.deploy` raises.
        """
        check_plan(plan)
        identity = new_rollout_id()
        with self._database.transaction() as session:
            chosen = members(session, selector)
            self._refuse_second(session, model)
            self._orders.add_deployment(session, model, order, now_s)
            session.add(
                RolloutRow(
                    id=identity,
                    deployment=order.deployment,
                    model=model,
                    created_s=now_s,
                    created_by=actor,
                    plan=msgspec.json.encode(plan),
                    selector=msgspec.json.encode(selector),
                    state="RUNNING",
                    updated_s=now_s,
                )
            )
            for number, wave in enumerate(waves_of(identity, chosen, plan)):
                opened_s = now_s if number == 0 else None
                session.add(WaveRow(rollout=identity, wave=number, size=len(wave.devices), last_hash=wave.last_hash, opened_s=opened_s))
                session.add_all(MemberRow(rollout=identity, device=name, wave=number) for name in wave.devices)
            note(session, actor, "rollout.start", identity, now_s, f"{order.deployment} to {len(chosen)} devices: {selector.words()}")
        return identity

    def _refuse_second(self, session: Session, model: str) -> None:
        """Two rollouts of one model would take each other's devices."""
        row = session.scalars(select(RolloutRow).where(RolloutRow.model == model, RolloutRow.ended_s.is_(None))).first()
        if row is not None and row.state not in OVER:
            message = f"the rollout {row.id} of {model!r} is {row.state}"
            raise Rejected("rollout-under-way", message, f"Wait for its end, or edgewright fleet cancel {row.id}")

    # --- what people order ---

    def approve(self, identity: str, actor: str, now_s: float) -> RolloutState:
        """Let the open wave go, or, where a rule has stopped the rollout, go on behind it."""
        return self._order(identity, "approve", actor, now_s)

    def pause(self, identity: str, actor: str, now_s: float) -> RolloutState:
        """Release nobody any more; what is released goes on."""
        return self._order(identity, "pause", actor, now_s)

    def resume(self, identity: str, actor: str, now_s: float) -> RolloutState:
        """Go on. What failed until now is accepted, and the open wave let through."""
        return self._order(identity, "resume", actor, now_s)

    def cancel(self, identity: str, actor: str, now_s: float) -> RolloutState:
        """End it: devices that are not done go back to the goal that they had; who has succeeded keeps the new one."""
        return self._order(identity, "cancel", actor, now_s)

    def roll_back(self, identity: str, actor: str, now_s: float) -> RolloutState:
        """Give every released device the goal that it had before."""
        return self._order(identity, "roll_back", actor, now_s)

    def retry(self, identity: str, actor: str, now_s: float) -> int:
        """Try the devices that failed or are silent once more; returns how many. Those that refused are not asked again.

        Raises:
            Rejected: ``rollout-unknown``, ``rollout-state``, ``nothing-to-retry``.
        """
        with self._database.transaction() as session:
            row = _row(session, identity)
            state = after(row.state, "retry")  # type: ignore[arg-type] # a column
            again = self._retried(session, row, now_s)
            if not again:
                message = f"no device of {identity} has failed, or all that did have refused the order"
                raise Rejected("nothing-to-retry", message, "A refusal is final: deploy something else to those devices")
            self._orders.set_goals(session, row.model, {member.device: Wanted(row.deployment, member.retries + 1) for member, _ in again}, now_s)
            for member, target in again:
                member.retries, member.released_s = member.retries + 1, now_s
                target.retried_after, target.state, target.reason = max(target.attempt, target.retried_after), None, None
            row.state, row.reason, row.updated_s, row.ended_s = state, None, now_s, None
            note(session, actor, "rollout.retry", identity, now_s, f"{len(again)} devices")
        return len(again)

    def _retried(self, session: Session, row: RolloutRow, now_s: float) -> list[tuple[MemberRow, Target]]:
        silent_s = now_s - _plan(row).device_timeout_s
        query = (
            select(MemberRow, Target)
            .join(Target, (Target.device == MemberRow.device) & (Target.deployment == row.deployment))
            .join(Goal, (Goal.device == MemberRow.device) & (Goal.model == row.model) & (Goal.deployment == row.deployment))
            .where(MemberRow.rollout == row.id, MemberRow.released_s.is_not(None))
            .where(Target.state.in_(RETRIED_STATES) | (is_open() & (MemberRow.released_s <= silent_s)))
        )
        return [(member, target) for member, target in session.execute(query)]

    def _order(self, identity: str, happening: Happening, actor: str, now_s: float) -> RolloutState:
        """One happening that a person wants.

        Raises:
            Rejected: ``rollout-unknown``, ``rollout-state``.
        """
        with self._database.transaction() as session:
            row = _row(session, identity)
            was, row.state = row.state, after(row.state, happening)  # type: ignore[arg-type] # a column
            if happening == "approve":
                row.approved = max(row.approved, row.wave if was == "WAITING" else row.wave + 1)
            if happening in {"approve", "resume"} and was == "PAUSED":
                row.approved = max(row.approved, row.wave + 1)
                row.forgiven = sum(facts.failed for facts in wave_facts(session, row, now_s))
            row.reason, row.updated_s, row.ended_s = None, now_s, None
            note(session, actor, f"rollout.{happening.replace('_', '-')}", row.id, now_s, f"wave {row.wave + 1}, was {was}")
            return row.state

    # --- what people see ---

    def view(self, identity: str, now_s: float) -> RolloutView:
        """One rollout by its id or its deployment's, or ``latest``.

        Raises:
            Rejected: ``rollout-unknown``.
        """
        with self._database.reading() as session:
            return _view(session, _row(session, identity), now_s)

    def all(self, now_s: float, *, limit: int = 100, only_open: bool = False) -> list[RolloutView]:
        """The latest first; `only_open` leaves out those that are over."""
        query = select(RolloutRow).order_by(RolloutRow.created_s.desc(), RolloutRow.id.desc()).limit(limit)
        if only_open:
            query = query.where(RolloutRow.state.not_in(OVER))
        with self._database.reading() as session:
            rows = list(session.scalars(query))
            return [_view(session, row, now_s) for row in rows]

    def members(
        self, identity: str, *, wave: int | None = None, states: tuple[str, ...] = (), after_device: str = "", limit: int = 1000
    ) -> list[MemberView]:
        """Devices of a rollout in the order of their names; `states` keeps those whose deployment is in one of them."""
        with self._database.reading() as session:
            row = _row(session, identity)
            query = (
                select(MemberRow, Target.state, Target.reason)
                .outerjoin(Target, (Target.device == MemberRow.device) & (Target.deployment == row.deployment))
                .where(MemberRow.rollout == row.id, MemberRow.device > after_device)
                .order_by(MemberRow.device)
                .limit(limit)
            )
            if wave is not None:
                query = query.where(MemberRow.wave == wave)
            if states:
                query = query.where(Target.state.in_(states))
            return [_member(member, state, reason) for member, state, reason in session.execute(query)]


def new_rollout_id() -> str:
    """Sortable by time, and unique."""
    return f"r-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:6]}"


def is_open() -> ColumnElement[bool]:
    """Whether a released member's deployment has no end yet."""
    return Target.state.is_(None) | Target.state.not_in(TERMINAL_STATES)


def wave_facts(session: Session, row: RolloutRow, now_s: float) -> list[WaveFacts]:
    """Where every wave stands, from the members and what is known of their deployments."""
    silent_s = now_s - _plan(row).device_timeout_s
    released = MemberRow.released_s.is_not(None)
    silent = released & is_open() & (MemberRow.released_s <= silent_s)
    counts = {
        "released": released,
        "succeeded": released & (Target.state == "SUCCEEDED"),
        "failed": released & (Target.state.in_(FAILED_STATES) | silent),
        "silent": silent,
        "replaced": released & (Target.state == "SUPERSEDED"),
    }
    sums = [func.coalesce(func.sum(case((condition, 1), else_=0)), 0).cast(Integer) for condition in counts.values()]
    query = (
        select(MemberRow.wave, func.count(), *sums)
        .outerjoin(Target, (Target.device == MemberRow.device) & (Target.deployment == row.deployment))
        .where(MemberRow.rollout == row.id)
        .group_by(MemberRow.wave)
    )
    known = {wave: (size, dict(zip(counts, numbers, strict=True))) for wave, size, *numbers in session.execute(query)}
    waves = session.scalars(select(WaveRow).where(WaveRow.rollout == row.id).order_by(WaveRow.wave))
    facts = []
    for wave in waves:
        size, numbers = known.get(wave.wave, (0, {}))
        facts.append(WaveFacts(size=size, open_for_s=0.0 if wave.opened_s is None else max(0.0, now_s - wave.opened_s), **numbers))
    return facts


def _row(session: Session, identity: str) -> RolloutRow:
    row = session.get(RolloutRow, identity)
    if row is None:
        known = session.scalars(select(RolloutRow).order_by(RolloutRow.created_s.desc(), RolloutRow.id.desc()))
        names = []
        for row in known:
            if identity in {"latest", row.deployment}:
                return row
            names.append(row.id)
        hint = nearest_hint(identity, names) if names else "Nothing was rolled out yet"
        raise Rejected("rollout-unknown", f"there is no rollout {identity!r}", hint)
    return row


def _plan(row: RolloutRow) -> RolloutPlan:
    return msgspec.json.decode(row.plan, type=RolloutPlan)


def _view(session: Session, row: RolloutRow, now_s: float) -> RolloutView:
    waves = list(session.scalars(select(WaveRow).where(WaveRow.rollout == row.id).order_by(WaveRow.wave)))
    deployment = session.get(Deployment, row.deployment)
    return RolloutView(
        rollout=row.id,
        deployment=row.deployment,
        model=row.model,
        version=deployment.version if deployment else "",
        state=row.state,  # type: ignore[arg-type] # a column
        reason=None if row.reason is None else msgspec.json.decode(row.reason, type=Reason),
        wave=row.wave,
        created_s=row.created_s,
        created_by=row.created_by,
        ended_s=row.ended_s,
        plan=_plan(row),
        selector=msgspec.json.decode(row.selector, type=Selector),
        waves=tuple(_wave(wave, facts) for wave, facts in zip(waves, wave_facts(session, row, now_s), strict=True)),
    )


def _wave(wave: WaveRow, facts: WaveFacts) -> WaveView:
    return WaveView(
        size=facts.size,
        released=facts.released,
        succeeded=facts.succeeded,
        failed=facts.failed,
        silent=facts.silent,
        replaced=facts.replaced,
        open=facts.open,
        opened_s=wave.opened_s,
        ended_s=wave.ended_s,
        judgement=None if wave.evidence is None else msgspec.json.decode(wave.evidence, type=Judgement),
    )


def _member(member: MemberRow, state: str | None, reason: bytes | None) -> MemberView:
    return MemberView(
        device=member.device,
        wave=member.wave,
        released_s=member.released_s,
        state=state,
        reason=None if reason is None else msgspec.json.decode(reason, type=Reason),
        previous=member.previous,
        retries=member.retries,
        undone_s=member.undone_s,
    )
