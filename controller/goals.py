"""The goals of many devices at once: a handful of statements for any number of them. All in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from ..core.errors import EdgewrightError, Reason
from ..core.trust import seal
from ..core.wire.fields import MAX_COUNT, MAX_TIME_S
from ..core.wire.messages import Desired, Order, check_desired, encode
from .recorder import close_unheard
from .tables import Deployment, Device, Goal, Target

STATEMENT_NAMES = 500
WIDEST_NAME = "x" * 64


@dataclass(frozen=True, slots=True)
class Wanted:
    """One deployment as a device's goal for a model; `retry` counts how often it shall be tried anew."""

    deployment: str
    retry: int = 0


Goals = dict[str, Wanted]
"""What one device shall have, by model."""


def set_goals(session: Session, fleet: str, model: str, wanted: Mapping[str, Wanted | None], now_s: float) -> dict[str, Reason]:
    """Set the goal for `model` of each device in `wanted`; None = it shall not be there.

    Returns the devices that cannot be told, with the reason: the goal of all their models would be longer than one message. Theirs are left alone.
    """
    check, refused = _Check(session, fleet), dict[str, Reason]()
    for part in portions(sorted(wanted)):
        known = goals_of(session, part)
        for name in part:
            reason = check.reason(_changed(known.get(name, {}), model, wanted[name]))
            if reason is not None:
                refused[name] = reason
        _write(session, model, {name: wanted[name] for name in part if name not in refused}, now_s)
    return refused


def goals_of(session: Session, devices: Sequence[str]) -> dict[str, Goals]:
    """What each of `devices` shall have; those that shall have nothing are left out."""
    found: dict[str, Goals] = {}
    columns = select(Goal.device, Goal.model, Goal.deployment, Goal.retry).where(Goal.device.in_(devices))
    for device, model, deployment, retry in session.execute(columns):
        found.setdefault(device, {})[model] = Wanted(deployment, retry)
    return found


def _changed(goals: Goals, model: str, wanted: Wanted | None) -> Goals:
    others = {name: goal for name, goal in goals.items() if name != model}
    return others if wanted is None else {**others, model: wanted}


def _write(session: Session, model: str, wanted: Mapping[str, Wanted | None], now_s: float) -> None:
    if not wanted:
        return
    devices, given = list(wanted), [(name, goal) for name, goal in wanted.items() if goal is not None]
    session.flush()
    session.execute(delete(Goal).where(Goal.device.in_(devices), Goal.model == model).execution_options(synchronize_session=False))
    if given:
        session.execute(insert(Goal), [{"device": name, "model": model, "deployment": goal.deployment, "retry": goal.retry} for name, goal in given])
        deployments = {goal.deployment for _, goal in given}
        there = select(Target.deployment, Target.device).where(Target.device.in_(devices), Target.deployment.in_(deployments))
        known = {(deployment, device) for deployment, device in session.execute(there)}
        new = [{"deployment": goal.deployment, "device": name} for name, goal in given if (goal.deployment, name) not in known]
        if new:
            session.execute(insert(Target), [{**entry, "attempt": 0, "sequence": 0, "retried_after": 0} for entry in new])
    session.execute(update(Device).where(Device.name.in_(devices)).values(goal_changed=True).execution_options(synchronize_session=False))
    close_unheard(session, devices, now_s)


class _Check:
    """Whether whole goals fit one message when they are signed. Devices that shall have the same are looked at once."""

    def __init__(self, session: Session, fleet: str) -> None:
        self._session = session
        self._fleet = fleet
        self._orders: dict[str, Order] = {}
        self._reasons: dict[frozenset[tuple[str, Wanted]], Reason | None] = {}

    def reason(self, goals: Goals) -> Reason | None:
        key = frozenset(goals.items())
        if key not in self._reasons:
            self._reasons[key] = self._look(goals)
        return self._reasons[key]

    def _look(self, goals: Goals) -> Reason | None:
        models = {model: msgspec.structs.replace(self._order(goal.deployment), retry=MAX_COUNT) for model, goal in goals.items()}
        try:
            check_fits(Desired(fleet=self._fleet, device=WIDEST_NAME, sequence=MAX_COUNT, issued_s=MAX_TIME_S, expires_s=MAX_TIME_S, models=models))
        except EdgewrightError as error:
            return error.reason
        return None

    def _order(self, deployment: str) -> Order:
        if deployment not in self._orders:
            row = self._session.get(Deployment, deployment)
            assert row is not None
            self._orders[deployment] = msgspec.json.decode(row.body, type=Order)
        return self._orders[deployment]


def check_fits(widest: Desired) -> None:
    """Raises:
    Rejected: ``message-too-large``, and what `check_desired` raises.
    """
    encode(seal(check_desired(widest), lambda _data: ("0" * 64, "0" * 128)))


def portions(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """`names` in as many as one statement may carry."""
    for start in range(0, len(names), STATEMENT_NAMES):
        yield names[start : start + STATEMENT_NAMES]
