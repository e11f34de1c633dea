"""Deployments as a list, and the devices of one: how many are in which state, and why they refused. Reads only."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..core.budget import Budget
from ..core.errors import Reason, Rejected
from ..core.nearest import nearest_hint
from ..core.wire.messages import Order
from .database import Database
from .overview import Refusal, StateCount, summed_refusals
from .rollout_tables import RolloutRow
from .tables import Deployment, Target

MAX_REASONS = 20_000
HINT_NAMES = 1000


class DeploymentSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment; `rollout` is the rollout that it belongs to, None where it went to its devices at once."""

    deployment: str
    model: str
    version: str
    created_s: float
    rollout: str | None
    states: tuple[StateCount, ...]


class DeploymentDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment with what was ordered and why devices refused it."""

    deployment: str
    model: str
    version: str
    created_s: float
    rollout: str | None
    recipe: str
    budget: Budget
    size_bytes: int
    states: tuple[StateCount, ...]
    refusals: tuple[Refusal, ...]


class TargetLine(msgspec.Struct, frozen=True, kw_only=True):
    """One device of a deployment; `state` is None while it has said nothing."""

    device: str
    state: str | None
    attempt: int
    updated_s: float | None
    reason: Reason | None


class Deployments:
    """Reads; each method is one consistent look."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, *, after: str = "", limit: int = 50) -> list[DeploymentSummary]:
        """The latest first; `after` goes on behind the last id of an earlier page.

        Raises:
            Rejected: ``deployment-unknown``: `after` is none.
        """
        with self._database.reading() as session:
            query = select(Deployment).order_by(Deployment.created_s.desc(), Deployment.id.desc()).limit(limit)
            if after:
                last = _row(session, after)
                is_older = (Deployment.created_s < last.created_s) | ((Deployment.created_s == last.created_s) & (Deployment.id < last.id))
                query = query.where(is_older)
            rows = list(session.scalars(query))
            names = [row.id for row in rows]
            states, rollouts = _states(session, names), _rollouts(session, names)
        return [
            DeploymentSummary(
                deployment=row.id,
                model=row.model,
                version=row.version,
                created_s=row.created_s,
                rollout=rollouts.get(row.id),
                states=tuple(states.get(row.id, ())),
            )
            for row in rows
        ]

    def detail(self, identity: str) -> DeploymentDetail:
        """One deployment by its id, or ``latest``.

        Raises:
            Rejected: ``deployment-unknown``.
        """
        with self._database.reading() as session:
            row = _row(session, identity)
            order = msgspec.json.decode(row.body, type=Order)
            why = select(Target.device, Target.reason).where(Target.deployment == row.id, Target.reason.is_not(None))
            reasons = session.execute(why.order_by(Target.device).limit(MAX_REASONS))
            return DeploymentDetail(
                deployment=row.id,
                model=row.model,
                version=row.version,
                created_s=row.created_s,
                rollout=_rollouts(session, [row.id]).get(row.id),
                recipe=order.recipe,
                budget=order.budget,
                size_bytes=sum(blob.size_bytes for blob in order.model.files.values()),
                states=tuple(_states(session, [row.id]).get(row.id, ())),
                refusals=tuple(
                    summed_refusals((device, msgspec.json.decode(reason, type=Reason)) for device, reason in reasons if reason is not None)
                ),
            )

    def targets(self, identity: str, *, states: Sequence[str] = (), after: str = "", limit: int = 100) -> list[TargetLine]:
        """Its devices in the order of their names, behind `after`; `states` keeps those in one of them.

        Raises:
            Rejected: ``deployment-unknown``.
        """
        with self._database.reading() as session:
            row = _row(session, identity)
            query = select(Target).where(Target.deployment == row.id, Target.device > after).order_by(Target.device).limit(limit)
            if states:
                query = query.where(Target.state.in_(states))
            return [
                TargetLine(
                    device=target.device,
                    state=target.state,
                    attempt=target.attempt,
                    updated_s=target.updated_s,
                    reason=None if target.reason is None else msgspec.json.decode(target.reason, type=Reason),
                )
                for target in session.scalars(query)
            ]


def _row(session: Session, identity: str) -> Deployment:
    latest = select(Deployment).order_by(Deployment.created_s.desc(), Deployment.id.desc()).limit(1)
    row = session.scalars(latest).first() if identity == "latest" else session.get(Deployment, identity)
    if row is None:
        known = list(session.scalars(select(Deployment.id).order_by(Deployment.created_s.desc()).limit(HINT_NAMES)))
        hint = nearest_hint(identity, known) if known else "Nothing was deployed yet"
        raise Rejected("deployment-unknown", f"there is no deployment {identity!r}", hint)
    return row


def _states(session: Session, deployments: Sequence[str]) -> dict[str, list[StateCount]]:
    counted = select(Target.deployment, Target.state, func.count()).where(Target.deployment.in_(deployments))
    query = counted.group_by(Target.deployment, Target.state)
    found: dict[str, list[StateCount]] = {}
    for deployment, name, count in session.execute(query.order_by(Target.deployment, Target.state)):
        found.setdefault(deployment, []).append(StateCount(state=name or "", goals=count))
    return found


def _rollouts(session: Session, deployments: Sequence[str]) -> dict[str, str]:
    query = select(RolloutRow.deployment, RolloutRow.id).where(RolloutRow.deployment.in_(deployments))
    return {deployment: identity for deployment, identity in session.execute(query)}  # noqa: C416 - rows are no pairs to mypy
