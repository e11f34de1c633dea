"""Writes down what devices say. Every message may come twice and in any order; what is recorded is the same.

A batch is one transaction: that is what thousands of messages per second take. Of each device the oldest events and telemetry go first; they are
looked for once per `TRIM_EVERY` messages, so a few more than what is kept may stand there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement, bindparam, delete, insert, select, update
from sqlalchemy.orm import Session, defer

from ..core.errors import EdgewrightError
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
STATEMENT_NAMES = 500

T = TypeVar("T")


class Recorder:
    """One row per fact. Messages of devices that are not enrolled are dropped."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._since_trim: Counter[tuple[str, str]] = Counter()

    def forget_presence(self) -> None:
        """Nobody counts as online until the broker says so again: last wills that were published meanwhile did not reach us."""
        with self._database.transaction() as session:
            session.execute(update(Device).where(Device.online | (Device.session != 0)).values(online=False, session=0))

    def can_write(self) -> bool:
        """Whether the database takes anything."""
        try:
            with self._database.transaction() as session:
                session.execute(update(Device).where(Device.name == "").values(online=False))  # no device has that name
        except EdgewrightError:
            return False
        return True

    def record(self, message: Message, now_s: float) -> bool:
        """Whether the message was kept."""
        return self.record_all([message], now_s) == 1

    def record_all(self, messages: Sequence[Message], now_s: float) -> int:
        """Record them all, in one transaction; returns how many were kept. Those of one device keep their order within their kind.

        Raises:
            Faulty: ``database-failed``: none was.
        """
        telemetry = [message for message in messages if isinstance(message, Telemetry)]
        events = [message for message in messages if isinstance(message, Event)]
        kept = 0
        with self._database.transaction() as session:
            devices = _load(session, messages)
            kept += self._events(session, events, devices, now_s)
            for message in messages:
                writer = _WRITERS.get(type(message))
                kept += writer is not None and writer(session, message, now_s)
            session.flush()
            kept += self._telemetry(session, telemetry, now_s)
        return kept

    def _events(self, session: Session, events: Sequence[Event], devices: Mapping[str, Device], now_s: float) -> int:
        """Many at once: one look for all that is known, one statement for all that is new."""
        mine = [event for event in events if event.device in devices]
        if not mine:
            return 0
        known = _known_events(session, mine)
        new: dict[tuple[str, str], Event] = {}
        for event in mine:
            if (event.device, event.id) not in known:
                new.setdefault((event.device, event.id), event)
        if not new:
            return 0
        session.execute(insert(EventRow), [_event_row(event, now_s) for event in new.values()])
        targets = _targets(session, new.values())
        for event in new.values():
            device, target = devices[event.device], targets.get((event.deployment, event.device))
            device.seen_s = now_s
            if target is not None:
                _add_event(session, target, event)
            if event.measurement is not None:
                keep_measurement(session, device, event.deployment, event.attempt, event.time_s, event.measurement)
            if self._is_trim_due("event", event.device):
                of_device: ColumnElement[bool] = EventRow.device == event.device
                oldest = select(EventRow.sequence).where(of_device).order_by(EventRow.sequence.desc()).offset(EVENTS_KEPT).limit(1)
                session.execute(delete(EventRow).where(of_device, EventRow.sequence <= oldest.scalar_subquery()))
        return len(new)

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
    body = msgspec.json.encode(message)
    if device is not None and device.capabilities != body:
        device.capabilities, device.seen_s = body, now_s
        device.hardware_class = message.hardware_class or message.board
    return device is not None


def _reported(session: Session, message: Reported, now_s: float) -> bool:
    """The device's whole truth; it also closes deployments whose last event was lost, and those that it has given up. What the broker only repeats,
    because we asked for all that it retains, has done all that already.
    """
    device = session.get(Device, message.device)
    if device is None:
        return False
    body = msgspec.json.encode(message)
    if device.reported == body:
        return True
    device.reported, device.seen_s = body, now_s
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


def _load(session: Session, messages: Sequence[Message]) -> dict[str, Device]:
    """The devices that have said more than telemetry, by name, in one look; the session keeps them."""
    names: set[str] = {getattr(message, "device", "") for message in messages if isinstance(message, SPEAKING)}
    kept = [_BODIES[kind] for kind in {type(message) for message in messages} if kind in _BODIES]
    left_out = [defer(column) for column in (Device.desired, *_BODIES.values()) if not any(column is other for other in kept)]
    found: dict[str, Device] = {}
    for part in _parts(sorted(names)):
        found.update({device.name: device for device in session.scalars(select(Device).where(Device.name.in_(part)).options(*left_out))})
    return found


def _known_events(session: Session, events: Sequence[Event]) -> set[tuple[str, str]]:
    known: set[tuple[str, str]] = set()
    for start in range(0, len(events), STATEMENT_NAMES):
        part = events[start : start + STATEMENT_NAMES]
        # By the device first, as the index has them.
        told = EventRow.device.in_({event.device for event in part}) & EventRow.event.in_({event.id for event in part})
        known.update((device, event) for device, event in session.execute(select(EventRow.device, EventRow.event).where(told)))
    return known


def _targets(session: Session, events: Iterable[Event]) -> dict[tuple[str, str], Target]:
    wanted = {(event.deployment, event.device) for event in events}
    found: dict[tuple[str, str], Target] = {}
    for part in _parts(sorted({device for _, device in wanted})):
        query = select(Target).where(Target.device.in_(part), Target.deployment.in_({deployment for deployment, _ in wanted}))
        found.update({(target.deployment, target.device): target for target in session.scalars(query)})
    return found


def _event_row(event: Event, now_s: float) -> dict[str, object]:
    return {
        "device": event.device,
        "event": event.id,
        "sequence": event.sequence,
        "deployment": event.deployment,
        "state": event.state,
        "time_s": event.time_s,
        "received_s": now_s,
        "body": msgspec.json.encode(event),
    }


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """`names` in portions that one statement may carry."""
    for start in range(0, len(names), STATEMENT_NAMES):
        yield names[start : start + STATEMENT_NAMES]


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


def close_unheard(session: Session, devices: Sequence[str], time_s: float) -> None:
    """End those deployments of `devices` that are no goal any more and that the devices have never spoken of: they will not either."""
    is_goal = (Goal.device == Target.device) & (Goal.deployment == Target.deployment)
    unheard = select(Target).outerjoin(Goal, is_goal).where(Target.device.in_(devices), Target.state.is_(None), Goal.device.is_(None))
    for target in session.scalars(unheard):
        _end(session, target.deployment, target.device, superseded(target.attempt, time_s))


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


_WRITERS: dict[type[Message], Callable[[Session, Any, float], bool]] = {
    Status: _status,
    Capabilities: _capabilities,
    Reported: _reported,
    Reply: _reply,
    ProfilePart: _profile,
}
SPEAKING: tuple[type[Message], ...] = (Event, *_WRITERS)
# What is large is loaded only to be held against what is said.
_BODIES: dict[type[Message], Any] = {Capabilities: Device.capabilities, Reported: Device.reported}
