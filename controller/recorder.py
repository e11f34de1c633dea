"""Writes down what devices say. Every message may come twice and in any order; what is recorded is the same.

A batch is one transaction: that is what thousands of messages per second take. Of each device the oldest events and telemetry go first; they are
looked for once per `TRIM_EVERY` messages, so a few more than what is kept may stand there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement, bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from ..core.wire.messages import TERMINAL_STATES, Capabilities, Event, Measurement, Message, ProfilePart, Reply, Reported, Status, Telemetry
from .database import Database
from .measurements import keep_measurement
from .progress import Progress, advanced, closing, later, progress_of, superseded
from .tables import CommandRow, Deployment, Device, EventRow, Goal, ProfilePartRow, Target, TelemetryRow

TELEMETRY_KEPT = 1000
EVENTS_KEPT = 5000
EVENTS_SUMMED = 500
PROFILES_KEPT = 50
TRIM_EVERY = 100

T = TypeVar("T")


class Recorder:
    """One row per fact. Messages of devices that are not enrolled are dropped."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._since_trim: Counter[tuple[str, str]] = Counter()
        self._writers: dict[type[Message], Callable[[Session, Any, float], bool]] = {
            Status: _status,
            Capabilities: _capabilities,
            Reported: _reported,
            Event: self._event,
            Reply: _reply,
            ProfilePart: _profile,
        }

    def forget_presence(self) -> None:
        """Nobody counts as online until the broker says so again: last wills that were published meanwhile did not reach us."""
        with self._database.transaction() as session:
            session.execute(update(Device).values(online=False, session=0))

    def record(self, message: Message, now_s: float) -> bool:
        """Whether the message was kept."""
        return self.record_all([message], now_s) == 1

    def record_all(self, messages: Sequence[Message], now_s: float) -> int:
        """Record them all, in their order, in one transaction; returns how many were kept.

        Raises:
            Faulty: ``database-failed``: none was.
        """
        telemetry = [message for message in messages if isinstance(message, Telemetry)]
        kept = 0
        with self._database.transaction() as session:
            for message in messages:
                writer = self._writers.get(type(message))
                kept += writer is not None and writer(session, message, now_s)
            session.flush()
            return kept + self._telemetry(session, telemetry, now_s)

    def _event(self, session: Session, message: Event, now_s: float) -> bool:
        device = session.get(Device, message.device)
        if device is None or _is_known(session, message):
            return False
        device.seen_s = now_s
        row = {
            "device": message.device,
            "event": message.id,
            "sequence": message.sequence,
            "deployment": message.deployment,
            "state": message.state,
            "time_s": message.time_s,
            "received_s": now_s,
            "body": msgspec.json.encode(message),
        }
        session.execute(insert(EventRow).values(row))
        target = session.get(Target, (message.deployment, message.device))
        if target is not None:
            _add_event(session, target, message)
        if message.measurement is not None:
            keep_measurement(session, device, message.deployment, message.attempt, message.time_s, message.measurement)
        if self._is_trim_due("event", message.device):
            mine: ColumnElement[bool] = EventRow.device == message.device
            oldest = select(EventRow.sequence).where(mine).order_by(EventRow.sequence.desc()).offset(EVENTS_KEPT).limit(1)
            session.execute(delete(EventRow).where(mine, EventRow.sequence <= oldest.scalar_subquery()))
        return True

    def _telemetry(self, session: Session, messages: Sequence[Telemetry], now_s: float) -> int:
        if not messages:
            return 0
        names = {message.device for message in messages}
        known = set(session.scalars(select(Device.name).where(Device.name.in_(names))))
        kept = [message for message in messages if message.device in known]
        rows = [{"device": message.device, "time_s": message.time_s, "body": msgspec.json.encode(message)} for message in kept]
        if not rows:
            return 0
        session.execute(insert(TelemetryRow), rows)
        seen = update(Device.__table__).where(Device.__table__.c.name == bindparam("known")).values(seen_s=now_s)  # type: ignore[arg-type] # a Table
        session.connection().execute(seen, [{"known": name} for name in sorted(known)])
        for row in rows:
            if self._is_trim_due("telemetry", str(row["device"])):
                mine: ColumnElement[bool] = TelemetryRow.device == row["device"]
                oldest = select(TelemetryRow.id).where(mine).order_by(TelemetryRow.id.desc()).offset(TELEMETRY_KEPT).limit(1)
                session.execute(delete(TelemetryRow).where(mine, TelemetryRow.id <= oldest.scalar_subquery()))
        return len(rows)

    def _is_trim_due(self, kind: str, device: str) -> bool:
        self._since_trim[kind, device] += 1
        if self._since_trim[kind, device] < TRIM_EVERY:
            return False
        del self._since_trim[kind, device]
        return True


def _status(session: Session, message: Status, now_s: float) -> bool:
    """A will of an older session does not mark a newer one dead; a session that has ended does not come back."""
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


def _capabilities(session: Session, message: Capabilities, now_s: float) -> bool:
    device = session.get(Device, message.device)
    if device is not None:
        device.capabilities, device.seen_s = msgspec.json.encode(message), now_s
        device.hardware_class = message.hardware_class or message.board
    return device is not None


def _reported(session: Session, message: Reported, now_s: float) -> bool:
    """The device's whole truth; it also closes deployments whose last event was lost, and those that it has given up."""
    device = session.get(Device, message.device)
    if device is None:
        return False
    device.reported, device.seen_s = msgspec.json.encode(message), now_s
    for report in message.models.values():
        ending = closing(report, message.time_s)
        if ending is not None and report.deployment is not None:
            _end(session, report.deployment, message.device, ending)
        if report.measurement is not None and report.deployment is not None:
            keep_measurement(session, device, report.deployment, report.attempt, message.time_s, report.measurement)
    close_superseded(session, message.device, message.time_s, spoken_of={report.deployment for report in message.models.values()})
    return True


def _reply(session: Session, message: Reply, now_s: float) -> bool:
    """The first answer to a command counts."""
    command = session.get(CommandRow, message.id)
    if command is None or command.device != message.device:
        return False
    device = session.get(Device, message.device)
    if device is not None:
        device.seen_s = now_s
    command.reply = command.reply or msgspec.json.encode(message)
    return True


def _profile(session: Session, message: ProfilePart, now_s: float) -> bool:
    """Pieces of an answer that was asked for; once all are here, later ones change nothing. Of each device, the oldest answers go."""
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


def _is_known(session: Session, event: Event) -> bool:
    known = select(EventRow.id).where(EventRow.device == event.device, EventRow.event == event.id)
    return session.scalar(known) is not None


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


def _add_event(session: Session, target: Target, event: Event) -> None:
    """The sum with one more event: at once where it is the latest, from all of them otherwise."""
    is_sum_known = target.sequence > 0 or target.state is None
    if not is_sum_known or event.sequence <= target.sequence:
        _sum_up(session, target)
        return
    known = None
    if target.state is not None:
        measurement = _decoded(target.measurement, Measurement)
        known = Progress(state=target.state, attempt=target.attempt, updated_s=target.updated_s or 0.0, measurement=measurement)  # type: ignore[arg-type] # a column
    target.sequence = event.sequence
    _set(target, advanced(known, event, _decoded(target.ending, Progress)))


def _sum_up(session: Session, target: Target) -> None:
    last = (
        select(EventRow.body)
        .where(EventRow.deployment == target.deployment, EventRow.device == target.device)
        .order_by(EventRow.sequence.desc())
        .limit(EVENTS_SUMMED)
    )
    events = [msgspec.json.decode(body, type=Event) for body in session.scalars(last)]
    progress = progress_of(events, _decoded(target.ending, Progress))
    target.sequence = max((event.sequence for event in events), default=0)
    if progress is not None:
        _set(target, progress)


def _set(target: Target, progress: Progress) -> None:
    if target.retried_after and progress.attempt <= target.retried_after:
        return  # it shall be tried anew: how it ended before no longer counts
    target.state, target.attempt, target.updated_s = progress.state, progress.attempt, progress.updated_s
    target.reason = None if progress.reason is None else msgspec.json.encode(progress.reason)
    target.measurement = None if progress.measurement is None else msgspec.json.encode(progress.measurement)


def _decoded(body: bytes | None, kind: type[T]) -> T | None:
    return None if body is None else msgspec.json.decode(body, type=kind)
