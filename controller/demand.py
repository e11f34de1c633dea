"""Which blobs many devices want at this moment: who is online, has a deployment as its goal, and has not fetched it yet."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..core.artifact import Blob, walk_blobs
from ..core.wire.messages import Order
from .database import Database
from .tables import Deployment, Device, Goal, Target

LOOK_S = 1.0
FETCHING = ("OFFERED", "ACCEPTED", "DOWNLOADING", "PAUSED")


class Demand:
    """Looked up at most once a second, for blobs that at least `least` devices want. For one thread."""

    def __init__(self, database: Database, least: int, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._least = least
        self._monotonic_s = monotonic_s
        self._looked_s = float("-inf")
        self._wanting: dict[str, int] = {}
        self._blobs: dict[str, tuple[str, ...]] = {}

    def of(self, digest: str) -> int:
        """How many devices want the blob; 0 when they are fewer than `least`.

        Raises:
            Faulty: ``database-failed``.
        """
        if self._monotonic_s() - self._looked_s >= LOOK_S:
            self._looked_s = self._monotonic_s()
            self._wanting = self._look()
        return self._wanting.get(digest, 0)

    def _look(self) -> dict[str, int]:
        is_goal = (Goal.device == Target.device) & (Goal.deployment == Target.deployment)
        is_fetching = Target.state.is_(None) | Target.state.in_(FETCHING)
        query = select(Target.deployment, func.count()).join(Goal, is_goal).join(Device, Device.name == Target.device)
        query = query.where(Device.online, is_fetching).group_by(Target.deployment)
        wanting: dict[str, int] = {}
        with self._database.reading() as session:
            found = [(deployment, count) for deployment, count in session.execute(query) if count >= self._least]
            self._blobs = {deployment: self._blobs.get(deployment) or _digests(session, deployment) for deployment, _ in found}
        for deployment, count in found:
            for digest in self._blobs[deployment]:
                wanting[digest] = wanting.get(digest, 0) + count
        return wanting


def _digests(session: Session, deployment: str) -> tuple[str, ...]:
    row = session.get(Deployment, deployment)
    if row is None:
        return ()
    order = msgspec.json.decode(row.body, type=Order)
    blobs: list[Blob] = []
    for artifact in (order.model, order.calibration, order.evaluation):
        blobs += walk_blobs(artifact) if artifact is not None else ()
    for shortcut in order.shortcuts.values():
        blobs += [delta.blob for delta in shortcut.deltas]
    return tuple({blob.digest: None for blob in blobs})
