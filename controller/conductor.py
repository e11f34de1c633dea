"""Conducts the rollouts: gathers the facts, lets `rollout.decide` say what to do, and does it. Called by the serving process, again and again.

Facts, decision and effect are one transaction, and every effect changes what the next decision sees: whoever is killed in between has done all or
nothing of it, and several controllers that conduct one rollout do nothing twice. A transaction changes at most `BATCH` devices, so that others
get their turn.
"""

from __future__ import annotations

import logging
from collections import Counter

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from ..core.errors import Reason
from ..core.wire.messages import Order
from .audit import CONTROLLER, note
from .database import Database
from .evidence import Judgement, judge_wave
from .goals import Wanted, goals_of
from .inventory import Selector, joiners
from .measurements import count_measured, measured_of_rollout
from .orders import Orders
from .rollout import OVER, Decision, Facts, Happening, after, decide
from .rollout_plan import RolloutPlan
from .rollout_tables import MemberRow, RolloutRow, WaveRow
from .rollouts import is_open, wave_facts
from .tables import Deployment, Device, Target
from .waves import wave_of_joiner

log = logging.getLogger(__name__)

BATCH = 500
JOIN_EVERY_S = 10.0
MAX_JOINERS = 1000


class Conductor:
    """For one thread. What it remembers is only what it need not look for again."""

    def __init__(self, database: Database, orders: Orders) -> None:
        self._database = database
        self._orders = orders
        self._judged: dict[str, tuple[int, Judgement]] = {}
        self._joined_s = float("-inf")

    def turn(self, now_s: float) -> bool:
        """One step of every rollout that is not over; returns whether anything was changed, so that there may be more to do.

        Raises:
            Faulty: ``database-failed``.
        """
        with self._database.reading() as session:
            waiting = list(session.scalars(select(RolloutRow.id).where(RolloutRow.ended_s.is_(None)).order_by(RolloutRow.created_s)))
            is_join_due = now_s - self._joined_s >= JOIN_EVERY_S or now_s < self._joined_s
        changed = [identity for identity in waiting if self._step(identity, now_s)]
        if is_join_due:
            self._joined_s = now_s
            self._take_joiners(now_s)
        for identity in self._judged.keys() - waiting:
            del self._judged[identity]
        return bool(changed)

    def _step(self, identity: str, now_s: float) -> bool:
        with self._database.transaction() as session:
            row = session.get(RolloutRow, identity)
            if row is None or row.ended_s is not None:
                return False
            if row.state == "CANCELED":
                return self._wind_up(session, row, now_s, only_open=True)
            if row.state in OVER:
                row.ended_s = now_s
                return True
            if row.state == "ROLLING_BACK" and self._undo(session, row, now_s, only_open=False):
                return True
            plan = msgspec.json.decode(row.plan, type=RolloutPlan)
            judgement = self._judgement(session, row, plan)
            decision = decide(plan, self._facts(session, row, judgement, now_s))
            return self._apply(session, row, decision, judgement, now_s)

    def _facts(self, session: Session, row: RolloutRow, judgement: Judgement, now_s: float) -> Facts:
        return Facts(
            state=row.state,  # type: ignore[arg-type] # a column
            wave=row.wave,
            approved=row.approved,
            forgiven=row.forgiven,
            waves=wave_facts(session, row, now_s),
            evidence=judgement.verdict,
            evidence_note=judgement.note,
        )

    def _judgement(self, session: Session, row: RolloutRow, plan: RolloutPlan) -> Judgement:
        """What has been measured until now; computed again when there is more of it."""
        count = count_measured(session, row.deployment)
        known = self._judged.get(row.id)
        if known is not None and known[0] == count:
            return known[1]
        deployment = session.get(Deployment, row.deployment)
        assert deployment is not None
        budget = msgspec.json.decode(deployment.body, type=Order).budget
        classes = select(Device.hardware_class).join(MemberRow, MemberRow.device == Device.name).where(MemberRow.rollout == row.id)
        sizes = Counter(session.scalars(classes))
        judgement = judge_wave(plan, budget, measured_of_rollout(session, row.id, row.deployment), dict(sizes))
        self._judged[row.id] = (count, judgement)
        return judgement

    def _apply(self, session: Session, row: RolloutRow, decision: Decision, judgement: Judgement, now_s: float) -> bool:
        if decision.happening is not None:
            self._happen(session, row, decision.happening, decision.reason, judgement, now_s)
            return True
        if decision.open_next:
            self._end_wave(session, row, judgement, now_s)
            row.wave += 1
            wave = session.get(WaveRow, (row.id, row.wave))
            assert wave is not None
            wave.opened_s = row.updated_s = now_s
            note(session, CONTROLLER, "rollout.wave", row.id, now_s, f"wave {row.wave + 1} of {wave.size} devices")
            return True
        if decision.release:
            return self._release(session, row, min(decision.release, BATCH), now_s)
        return False

    def _happen(self, session: Session, row: RolloutRow, happening: Happening, reason: Reason | None, judgement: Judgement, now_s: float) -> None:
        was = row.state
        row.state = after(row.state, happening)  # type: ignore[arg-type] # a column
        row.reason, row.updated_s = None if reason is None else msgspec.json.encode(reason), now_s
        if happening in {"finish", "stop", "roll_back"}:
            self._end_wave(session, row, judgement, now_s)
        log.info("The rollout %s is %s%s", row.id, row.state, f": {reason.line()}" if reason else "")
        note(session, CONTROLLER, f"rollout.{happening.replace('_', '-')}", row.id, now_s, reason.message if reason else f"was {was}")

    def _end_wave(self, session: Session, row: RolloutRow, judgement: Judgement, now_s: float) -> None:
        wave = session.get(WaveRow, (row.id, row.wave))
        if wave is not None:
            wave.ended_s, wave.evidence = now_s, msgspec.json.encode(judgement)

    # --- effects on devices ---

    def _release(self, session: Session, row: RolloutRow, count: int, now_s: float) -> bool:
        query = select(MemberRow).where(MemberRow.rollout == row.id, MemberRow.wave == row.wave, MemberRow.released_s.is_(None))
        found = {member.device: member for member in session.scalars(query.order_by(MemberRow.device).limit(count))}
        here = set(session.scalars(select(Device.name).where(Device.name.in_(found), Device.retired_s.is_(None))))
        for name in found.keys() - here:
            session.delete(found[name])  # it has left the fleet meanwhile
        before = goals_of(session, list(here))
        for name in here:
            member, goal = found[name], before.get(name, {}).get(row.model)
            member.released_s = now_s
            if goal is not None:
                member.previous, member.previous_retry = goal.deployment, goal.retry
        refused = self._orders.set_goals(session, row.model, dict.fromkeys(here, Wanted(row.deployment)), now_s)
        for name, reason in refused.items():
            # It counts as one that has refused the order.
            log.warning("%s cannot be told of %s: %s", name, row.deployment, reason.line())
            session.merge(Target(deployment=row.deployment, device=name, state="REJECTED", updated_s=now_s, reason=msgspec.json.encode(reason)))
        row.updated_s = now_s
        return True

    def _wind_up(self, session: Session, row: RolloutRow, now_s: float, *, only_open: bool) -> bool:
        """The work that a cancelled rollout leaves; once it is done, the rollout has ended."""
        if not self._undo(session, row, now_s, only_open=only_open):
            row.ended_s = now_s
        return True

    def _undo(self, session: Session, row: RolloutRow, now_s: float, *, only_open: bool) -> bool:
        """Give some devices the goal back that they had before; returns whether there were any."""
        query = (
            select(MemberRow)
            .outerjoin(Target, (Target.device == MemberRow.device) & (Target.deployment == row.deployment))
            .where(MemberRow.rollout == row.id, MemberRow.released_s.is_not(None), MemberRow.undone_s.is_(None))
            .order_by(MemberRow.device)
            .limit(BATCH)
        )
        if only_open:
            query = query.where(is_open())
        found = list(session.scalars(query))
        now_wanted = goals_of(session, [member.device for member in found])
        given_back: dict[str, Wanted | None] = {}
        for member in found:
            member.undone_s = now_s
            goal = now_wanted.get(member.device, {}).get(row.model)
            if goal is not None and goal.deployment == row.deployment:  # else somebody has given it another goal since
                given_back[member.device] = None if member.previous is None else Wanted(member.previous, member.previous_retry)
        self._orders.set_goals(session, row.model, given_back, now_s)
        return bool(found)

    # --- late joiners ---

    def _take_joiners(self, now_s: float) -> None:
        """Devices that were not there at the beginning: into the latest rollout of each model, while it runs or after it has succeeded."""
        with self._database.transaction() as session:
            seen: set[str] = set()
            for row in list(session.scalars(select(RolloutRow).order_by(RolloutRow.created_s.desc(), RolloutRow.id.desc()))):
                if row.model not in seen:
                    seen.add(row.model)
                    self._join(session, row, now_s)

    def _join(self, session: Session, row: RolloutRow, now_s: float) -> None:
        plan, selector = msgspec.json.decode(row.plan, type=RolloutPlan), msgspec.json.decode(row.selector, type=Selector)
        if not plan.late_joiners or row.state not in {"RUNNING", "SUCCEEDED"} or selector.devices:
            return
        found = joiners(session, selector, row.id)[:MAX_JOINERS]
        if not found:
            return
        waves = list(session.scalars(select(WaveRow).where(WaveRow.rollout == row.id).order_by(WaveRow.wave)))
        for member in found:
            # A wave that is over is not opened again: who belongs to it goes with the open one.
            number = max(row.wave, wave_of_joiner(row.id, member.device, [wave.last_hash for wave in waves]))
            session.add(MemberRow(rollout=row.id, device=member.device, wave=number))
            waves[number].size += 1
        row.state, row.updated_s, row.ended_s = after(row.state, "join"), now_s, None  # type: ignore[arg-type] # a column
        note(session, CONTROLLER, "rollout.join", row.id, now_s, f"{len(found)} devices")
