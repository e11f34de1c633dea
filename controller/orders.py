"""What shall be on the devices: deployments, each device's goal, commands; and the signed messages that say it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence

import msgspec
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from ..core.errors import Rejected
from ..core.nearest import nearest_hint
from ..core.trust import Sign, seal
from ..core.wire.messages import Command, Desired, Order, check_desired, encode
from ..core.wire.topics import check_name
from .database import Database
from .tables import CommandRow, Deployment, Device, Goal, Target

DESIRED_LIFE_S = 7 * 86400.0
COMMAND_LIFE_S = 600.0


class Orders:
    """Writes goals, and signs what the serving process has to publish."""

    def __init__(self, database: Database, fleet: str) -> None:
        self._database = database
        self._fleet = fleet

    def enroll(self, device: str, now_s: float) -> None:
        check_name(device, what="device")
        with self._database.transaction() as session:
            if session.get(Device, device) is None:
                session.add(Device(name=device, enrolled_s=now_s))

    def deploy(self, model: str, order: Order, devices: Sequence[str], now_s: float) -> None:
        """Make `order` the goal for `model` on `devices`; whatever was the goal there is superseded.

        Raises:
            Rejected: ``device-unknown``, ``message-too-large``, ``bad-name``, ``artifact-malformed``.
        """
        check_name(model, what="model")
        with self._database.transaction() as session:
            session.add(Deployment(id=order.deployment, model=model, version=order.version, created_s=now_s, body=msgspec.json.encode(order)))
            for name in self._existing(session, devices):
                session.merge(Goal(device=name, model=model, deployment=order.deployment))
                session.add(Target(deployment=order.deployment, device=name))
                session.flush()
                self._goal_changed(session, name)

    def remove(self, model: str, devices: Sequence[str]) -> int:
        """Take `model` from the goal of `devices`; returns how many had it."""
        count = 0
        with self._database.transaction() as session:
            for name in self._existing(session, devices):
                goal = session.get(Goal, (name, model))
                if goal is not None:
                    count += 1
                    session.delete(goal)
                    session.flush()
                    self._goal_changed(session, name)
        return count

    def _existing(self, session: Session, devices: Sequence[str]) -> list[str]:
        known = list(session.scalars(select(Device.name).order_by(Device.name)))
        for name in devices:
            if name not in known:
                raise Rejected("device-unknown", f"no device {name!r} is enrolled", nearest_hint(name, known) if known else "Enroll it first")
        return list(dict.fromkeys(devices)) or known

    def _goal_changed(self, session: Session, name: str) -> None:
        """Mark the device, after a look whether its whole goal still fits one message."""
        device = session.get(Device, name)
        assert device is not None
        device.goal_changed = True
        encode(check_desired(self._desired(session, device, now_s=0.0)))

    def _desired(self, session: Session, device: Device, now_s: float) -> Desired:
        query = select(Goal.model, Deployment.body).join(Deployment, Deployment.id == Goal.deployment).where(Goal.device == device.name)
        return Desired(
            fleet=self._fleet,
            device=device.name,
            sequence=device.sequence,
            issued_s=now_s,
            expires_s=now_s + DESIRED_LIFE_S,
            models={model: msgspec.json.decode(body, type=Order) for model, body in session.execute(query)},
        )

    def command(self, device: str, verb: str, *, deployment: str | None, model: str | None, now_s: float) -> str:
        """Queue a command; returns its id."""
        identity = uuid.uuid4().hex
        with self._database.transaction() as session:
            self._existing(session, [device])
            session.add(CommandRow(id=identity, device=device, verb=verb, deployment=deployment, model=model, created_s=now_s))
        return identity

    def sign_changed_goals(self, sign: Sign, now_s: float) -> list[tuple[str, bytes]]:
        """Sign a new ``desired`` for every device whose goal has changed or whose last one is half through its life."""
        signed: list[tuple[str, bytes]] = []
        with self._database.transaction() as session:
            stale = Device.desired_expires_s < now_s + DESIRED_LIFE_S / 2
            for device in session.scalars(select(Device).where(or_(Device.goal_changed, stale))):
                device.sequence += 1
                desired = self._desired(session, device, now_s)
                device.desired = encode(seal(desired, sign))
                device.desired_expires_s, device.goal_changed = desired.expires_s, False
                signed.append((device.name, device.desired))
        return signed

    def all_desired(self) -> list[tuple[str, bytes]]:
        """Every device's last signed goal, to be published again after a reconnect."""
        with self._database.reading() as session:
            rows = session.execute(select(Device.name, Device.desired).where(Device.desired.is_not(None)))
            return [(name, desired) for name, desired in rows if desired is not None]

    def sign_commands(self, sign: Sign, now_s: float) -> list[tuple[str, bytes]]:
        """Sign the commands that wait."""
        signed: list[tuple[str, bytes]] = []
        with self._database.transaction() as session:
            for row in session.scalars(select(CommandRow).where(CommandRow.sent_s.is_(None)).order_by(CommandRow.created_s)):
                device = session.get(Device, row.device)
                assert device is not None
                device.sequence += 1
                command = Command(
                    fleet=self._fleet,
                    device=row.device,
                    sequence=device.sequence,
                    issued_s=now_s,
                    expires_s=now_s + COMMAND_LIFE_S,
                    id=row.id,
                    verb=row.verb,  # type: ignore[arg-type] # the command line offers the verbs of the wire only
                    deployment=row.deployment,
                    model=row.model,
                )
                signed.append((row.device, encode(seal(command, sign))))
                row.sent_s = now_s
        return signed


def new_deployment_id(model: str) -> str:
    """A name for a deployment: sortable by time, unique, and readable in a log."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:6]}-{model}"[:64].rstrip("-")
