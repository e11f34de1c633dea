"""Writes down what devices say. Every message may come twice and in any order; what is recorded is the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec
from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from ..core.wire.messages import TERMINAL_STATES, Capabilities, Event, ProfilePart, Reply, Reported, Status, Telemetry
from .database import Database
from .progress import Progress, closing, later, progress_of, superseded
from .tables import CommandRow, Deployment, Device, EventRow, Goal, ProfilePartRow, Target, TelemetryRow

TELEMETRY_KEPT = 1000
EVENTS_KEPT = 5000
EVENTS_SUMMED = 500
PROFILES_KEPT = 50

T = TypeVar("T")


class Recorder:
    """One row per fact. Messages of devices that are not enrolled are dropped: each method says whether it kept the message."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def forget_presence(self) -> None:
        """Nobody counts as online until the broker says so again: last wills that were published meanwhile did not reach us."""
        with self._database.transaction() as session:
            session.execute(update(Device).values(online=False, session=0))

    def status(self, message: Status, now_s: float) -> bool:
        """A will of an older session does not mark a newer one dead; a session that has ended does not come back."""
        with self._database.transaction() as session:
            device = session.get(Device, message.device)
            if device is None:
                return False
            device.seen_s = now_s if message.online else device.seen_s
            if message.session > device.session or (message.session == device.session and not message.online):
                is_back = message.online and message.session > device.session
                device.online, device.session, device.boot_id = message.online, message.session, message.boot_id
                if is_back:  # what it has not answered, it may not have heard
                    unanswered = (CommandRow.device == device.name) & CommandRow.reply.is_(None)
                    session.execute(update(CommandRow).where(unanswered).values(sent_s=None))
            return True

    def capabilities(self, message: Capabilities, now_s: float) -> bool:
        with self._database.transaction() as session:
            device = session.get(Device, message.device)
            if device is not None:
                device.capabilities, device.seen_s = msgspec.json.encode(message), now_s
            return device is not None

    def reported(self, message: Reported, now_s: float) -> bool:
        """The device's whole truth; it also closes deployments whose last event was lost, and those that it has given up."""
        with self._database.transaction() as session:
            device = session.get(Device, message.device)
            if device is None:
                return False
            device.reported, device.seen_s = msgspec.json.encode(message), now_s
            for report in message.models.values():
                ending = closing(report, message.time_s)
                if ending is not None and report.deployment is not None:
                    _end(session, report.deployment, message.device, ending)
            close_superseded(session, message.device, message.time_s, spoken_of={report.deployment for report in message.models.values()})
            return True

    def event(self, message: Event, now_s: float) -> bool:
        with self._database.transaction() as session:
            device = session.get(Device, message.device)
            if device is None or session.get(EventRow, (message.device, message.id)) is not None:
                return False
            device.seen_s = now_s
            session.add(
                EventRow(
                    device=message.device,
                    event=message.id,
                    sequence=message.sequence,
                    deployment=message.deployment,
                    state=message.state,
                    time_s=message.time_s,
                    received_s=now_s,
                    body=msgspec.json.encode(message),
                )
            )
            session.flush()
            target = session.get(Target, (message.deployment, message.device))
            if target is not None:
                _sum_up(session, target)
            oldest = (
                select(EventRow.sequence).where(EventRow.device == message.device).order_by(EventRow.sequence.desc()).offset(EVENTS_KEPT).limit(1)
            )
            session.execute(delete(EventRow).where(EventRow.device == message.device, EventRow.sequence <= oldest.scalar_subquery()))
            return True

    def telemetry(self, message: Telemetry, now_s: float) -> bool:
        with self._database.transaction() as session:
            device = session.get(Device, message.device)
            if device is None:
                return False
            device.seen_s = now_s
            session.add(TelemetryRow(device=message.device, time_s=message.time_s, body=msgspec.json.encode(message)))
            session.flush()
            mine: ColumnElement[bool] = TelemetryRow.device == message.device
            oldest = select(TelemetryRow.id).where(mine).order_by(TelemetryRow.id.desc()).offset(TELEMETRY_KEPT).limit(1)
            session.execute(delete(TelemetryRow).where(mine, TelemetryRow.id <= oldest.scalar_subquery()))
            return True

    def reply(self, message: Reply, now_s: float) -> bool:
        """The first answer to a command counts."""
        with self._database.transaction() as session:
            command = session.get(CommandRow, message.id)
            if command is None or command.device != message.device:
                return False
            device = session.get(Device, message.device)
            if device is not None:
                device.seen_s = now_s
            command.reply = command.reply or msgspec.json.encode(message)
            return True

    def profile(self, message: ProfilePart, now_s: float) -> bool:
        """Pieces of an answer that was asked for; once all are here, later ones change nothing. Of each device, the oldest answers go."""
        with self._database.transaction() as session:
            command, device = session.get(CommandRow, message.command), session.get(Device, message.device)
            if command is None or device is None or command.device != message.device or command.verb != "profile" or message.part >= message.parts:
                return False
            device.seen_s = now_s
            have = list(session.scalars(select(ProfilePartRow).where(ProfilePartRow.command == message.command)))
            if _is_whole(have):
                return False
            if have and have[0].parts != message.parts:
                # Another attempt's pieces do not fit together with these.
                session.execute(delete(ProfilePartRow).where(ProfilePartRow.command == message.command))
            session.merge(ProfilePartRow(command=message.command, part=message.part, parts=message.parts, data=message.data))
            kept = (
                select(CommandRow.id)
                .where(CommandRow.device == message.device, CommandRow.verb == "profile")
                .order_by(CommandRow.created_s.desc(), CommandRow.id)
                .limit(PROFILES_KEPT)
            )
            mine = select(CommandRow.id).where(CommandRow.device == message.device, CommandRow.verb == "profile", CommandRow.id.not_in(kept))
            session.execute(delete(ProfilePartRow).where(ProfilePartRow.command.in_(mine)))
            return True


def _is_whole(have: Sequence[ProfilePartRow]) -> bool:
    return bool(have) and len(have) == have[0].parts


def close_superseded(session: Session, device: str, time_s: float, *, spoken_of: set[str | None]) -> None:
    """End the device's open deployments that are neither a goal nor `spoken_of`: it has never heard of them, or has given them up."""
    goals = select(Goal.deployment).where(Goal.device == device)
    open_targets = (
        select(Target)
        .join(Deployment, Deployment.id == Target.deployment)
        .where(Target.device == device, Target.deployment.not_in(goals), Target.state.is_(None) | Target.state.not_in(TERMINAL_STATES))
    )
    for target in session.scalars(open_targets):
        if target.deployment not in spoken_of:
            _end(session, target.deployment, device, superseded(target.attempt, time_s))


def _end(session: Session, deployment: str, device: str, ending: Progress) -> None:
    target = session.get(Target, (deployment, device))
    if target is None:
        return
    known = _decoded(target.ending, Progress)
    chosen = later(known, ending)
    if chosen is not known:
        target.ending = msgspec.json.encode(chosen)
        _sum_up(session, target)


def _sum_up(session: Session, target: Target) -> None:
    last = (
        select(EventRow.body)
        .where(EventRow.deployment == target.deployment, EventRow.device == target.device)
        .order_by(EventRow.sequence.desc())
        .limit(EVENTS_SUMMED)
    )
    events = [msgspec.json.decode(body, type=Event) for body in session.scalars(last)]
    progress = progress_of(events, _decoded(target.ending, Progress))
    if progress is None:
        return
    target.state, target.attempt, target.updated_s = progress.state, progress.attempt, progress.updated_s
    target.reason = None if progress.reason is None else msgspec.json.encode(progress.reason)
    target.measurement = None if progress.measurement is None else msgspec.json.encode(progress.measurement)


def _decoded(body: bytes | None, kind: type[T]) -> T | None:
    return None if body is None else msgspec.json.decode(body, type=kind)
