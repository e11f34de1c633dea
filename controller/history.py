"""What one device was and did: its last words, telemetry over time, state changes, commands and the last trace of its power. Reads only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..core.errors import EdgewrightError, Reason, Rejected
from ..core.nearest import nearest_hint
from ..core.profile import ProfileReport, decode_report
from ..core.wire.messages import Capabilities, Event, Reply, Reported, Telemetry
from .database import Database
from .tables import CommandRow, Deployment, Device, EventRow, Goal, LabelRow, ProfilePartRow, Target, TelemetryRow

KEPT_PROFILES = 50
HINT_NAMES = 2000


class DeviceGoal(msgspec.Struct, frozen=True, kw_only=True):
    """What a device shall have as `model`, and how far it is; `state` is None while it has said nothing."""

    model: str
    deployment: str
    version: str
    state: str | None
    attempt: int
    updated_s: float | None
    reason: Reason | None


class DeviceDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One device as it last was. `boot_id` and `session` are of its present or last connection."""

    name: str
    online: bool
    enrolled_s: float
    seen_s: float | None
    retired_s: float | None
    session: int
    boot_id: str
    hardware_class: str
    certificate_expires_s: float | None
    labels: dict[str, str]
    goals: tuple[DeviceGoal, ...]
    capabilities: Capabilities | None
    reported: Reported | None


class CommandView(msgspec.Struct, frozen=True, kw_only=True):
    """One command to a device; `ok` is None until it has answered."""

    command: str
    verb: str
    deployment: str | None
    model: str | None
    created_s: float
    ok: bool | None
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class ProfileView:
    """A device's answer to a command ``profile``: the report, or why what it sent cannot be read."""

    command: str
    created_s: float
    report: ProfileReport | None
    problem: Reason | None


class DeviceHistory:
    """Reads; each method is one consistent look."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def detail(self, name: str) -> DeviceDetail:
        """Raises:
        Rejected: ``device-unknown``: there never was one of this name.
        """
        with self._database.reading() as session:
            row = session.get(Device, name)
            if row is None:
                raise _unknown(session, name)
            labels = session.scalars(select(LabelRow).where(LabelRow.device == name).order_by(LabelRow.key))
            return DeviceDetail(
                name=row.name,
                online=row.online,
                enrolled_s=row.enrolled_s,
                seen_s=row.seen_s,
                retired_s=row.retired_s,
                session=row.session,
                boot_id=row.boot_id,
                hardware_class=row.hardware_class,
                certificate_expires_s=row.certificate_expires_s,
                labels={label.key: label.value for label in labels},
                goals=tuple(_goals(session, name)),
                capabilities=None if row.capabilities is None else msgspec.json.decode(row.capabilities, type=Capabilities),
                reported=None if row.reported is None else msgspec.json.decode(row.reported, type=Reported),
            )

    def telemetry(self, device: str, *, limit: int = 500) -> list[Telemetry]:
        """The latest `limit` words on its health, in the order of their coming."""
        query = select(TelemetryRow.body).where(TelemetryRow.device == device).order_by(TelemetryRow.id.desc()).limit(limit)
        with self._database.reading() as session:
            bodies = list(session.scalars(query))
        return [msgspec.json.decode(body, type=Telemetry) for body in reversed(bodies)]

    def events(self, device: str, *, before: int | None = None, limit: int = 50) -> list[Event]:
        """The latest state changes first; `before` goes on below the sequence of an earlier page's last."""
        query = select(EventRow.body).where(EventRow.device == device).order_by(EventRow.sequence.desc()).limit(limit)
        if before is not None:
            query = query.where(EventRow.sequence < before)
        with self._database.reading() as session:
            return [msgspec.json.decode(body, type=Event) for body in session.scalars(query)]

    def commands(self, device: str, *, limit: int = 20) -> list[CommandView]:
        """The latest first."""
        query = select(CommandRow).where(CommandRow.device == device).order_by(CommandRow.created_s.desc(), CommandRow.id).limit(limit)
        with self._database.reading() as session:
            return [_command(row) for row in session.scalars(query)]

    def models_of(self, deployments: Iterable[str]) -> dict[str, str]:
        """Which model each of `deployments` is of."""
        query = select(Deployment).where(Deployment.id.in_(set(deployments)))
        with self._database.reading() as session:
            return {row.id: row.model for row in session.scalars(query)}

    def last_profile(self, device: str) -> ProfileView | None:
        """The latest whole answer to a command ``profile``; None = there is none."""
        parts = select(ProfilePartRow.command).group_by(ProfilePartRow.command).having(func.count() == func.max(ProfilePartRow.parts))
        query = (
            select(CommandRow.id, CommandRow.created_s)
            .where(CommandRow.device == device, CommandRow.verb == "profile", CommandRow.id.in_(parts))
            .order_by(CommandRow.created_s.desc())
            .limit(1)
        )
        with self._database.reading() as session:
            found = session.execute(query).first()
            if found is None:
                return None
            pieces = select(ProfilePartRow.data).where(ProfilePartRow.command == found[0]).order_by(ProfilePartRow.part)
            data = b"".join(session.scalars(pieces))
        try:
            return ProfileView(found[0], found[1], decode_report(data), None)
        except EdgewrightError as error:
            return ProfileView(found[0], found[1], None, error.reason)


def _unknown(session: Session, name: str) -> Rejected:
    known = list(session.scalars(select(Device.name).order_by(Device.name).limit(HINT_NAMES)))
    hint = nearest_hint(name, known) if known else "Enroll it first: edgewright fleet enroll"
    return Rejected("device-unknown", f"no device {name!r} is enrolled", hint)


def _goals(session: Session, device: str) -> list[DeviceGoal]:
    is_its = (Target.deployment == Goal.deployment) & (Target.device == Goal.device)
    query = (
        select(Goal, Deployment.version, Target)
        .join(Deployment, Deployment.id == Goal.deployment)
        .outerjoin(Target, is_its)
        .where(Goal.device == device)
        .order_by(Goal.model)
    )
    return [
        DeviceGoal(
            model=goal.model,
            deployment=goal.deployment,
            version=version,
            state=None if target is None else target.state,
            attempt=0 if target is None else target.attempt,
            updated_s=None if target is None else target.updated_s,
            reason=None if target is None or target.reason is None else msgspec.json.decode(target.reason, type=Reason),
        )
        for goal, version, target in session.execute(query)
    ]


def _command(row: CommandRow) -> CommandView:
    reply = None if row.reply is None else msgspec.json.decode(row.reply, type=Reply)
    return CommandView(
        command=row.id,
        verb=row.verb,
        deployment=row.deployment,
        model=row.model,
        created_s=row.created_s,
        ok=None if reply is None else reply.ok,
        reason=None if reply is None else reply.reason,
    )
