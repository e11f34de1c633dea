"""Writes down what devices say. Every message may come twice and in any order; what is recorded is the same."""

from __future__ import annotations

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from ..core.wire.messages import TERMINAL_STATES, Capabilities, Event, Reply, Reported, Status, Telemetry
from .database import Database
from .tables import CommandRow, Device, EventRow, Target, TelemetryRow

TELEMETRY_KEPT = 1000


class Recorder:
    """One row per fact. Messages of devices that are not enrolled are dropped: each method says whether it kept the message."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def status(self, message: Status, now_s: float) -> bool:
        """A will of an older session does not mark a newer one dead."""
        with self._database.transaction() as session:
            device = session.get(Device, message.device)
            if device is None:
                return False
            if message.session >= device.session:
                device.online, device.session, device.boot_id = message.online, message.session, message.boot_id
                device.seen_s = now_s if message.online else device.seen_s
            return True

    def capabilities(self, message: Capabilities, now_s: float) -> bool:
        with self._database.transaction() as session:
            device = session.get(Device, message.device)
            if device is not None:
                device.capabilities, device.seen_s = msgspec.json.encode(message), now_s
            return device is not None

    def reported(self, message: Reported, now_s: float) -> bool:
        """The device's whole truth; it also closes deployments whose last event was lost."""
        with self._database.transaction() as session:
            device = session.get(Device, message.device)
            if device is None:
                return False
            device.reported, device.seen_s = msgspec.json.encode(message), now_s
            for report in message.models.values():
                if report.deployment is None or report.state not in TERMINAL_STATES:
                    continue
                target = session.get(Target, (report.deployment, message.device))
                if target is not None and target.state not in TERMINAL_STATES:
                    target.state, target.attempt, target.updated_s = report.state, report.attempt, message.time_s
                    target.reason = None if report.reason is None else msgspec.json.encode(report.reason)
                    target.measurement = None if report.measurement is None else msgspec.json.encode(report.measurement)
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
            _advance_target(session, message)
            return True

    def telemetry(self, message: Telemetry, now_s: float) -> bool:
        with self._database.transaction() as session:
            device = session.get(Device, message.device)
            if device is None:
                return False
            device.seen_s = now_s
            session.add(TelemetryRow(device=message.device, time_s=message.time_s, body=msgspec.json.encode(message)))
            session.flush()
            newest = session.scalar(select(func.max(TelemetryRow.id)).where(TelemetryRow.device == message.device)) or 0
            session.execute(delete(TelemetryRow).where(TelemetryRow.device == message.device, TelemetryRow.id <= newest - TELEMETRY_KEPT))
            return True

    def reply(self, message: Reply) -> bool:
        with self._database.transaction() as session:
            command = session.get(CommandRow, message.id)
            if command is None or command.device != message.device:
                return False
            command.reply = msgspec.json.encode(message)
            return True


def _advance_target(session: Session, message: Event) -> None:
    target = session.get(Target, (message.deployment, message.device))
    if target is None or message.sequence <= target.sequence:
        return
    target.state, target.attempt, target.sequence, target.updated_s = message.state, message.attempt, message.sequence, message.time_s
    target.reason = None if message.reason is None else msgspec.json.encode(message.reason)
    if message.measurement is not None:
        target.measurement = msgspec.json.encode(message.measurement)
