"""Profiles that the fleet asks for: each is written down, measured in a worker child behind the builds, and sent in parts from a spool.

What a crash interrupts is answered with a reason at the next start: an order that was accepted is always answered.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from ..core.errors import EdgewrightError, Reason, Rejected, Unfit
from ..core.files import make_folder, remove_leftovers, write_atomic
from ..core.profile import MAX_PROFILE_BYTES, Profile, ProfileOrder, ProfileReport
from ..core.wire.messages import MAX_PROFILE_PARTS, PROFILE_PART_BYTES, Command, ProfilePart, encode
from ..pipeline.request import ProfileRequest
from .lanes import Job, Lanes
from .outbox import Outbox
from .slots import ModelSlots

log = logging.getLogger(__name__)

MAX_WAITING = 4
SPOOLED_PROFILES = 8
PARTS_IN_FLIGHT = 4

PrepareProfile = Callable[[Command], Callable[[], None]]
Run = Callable[[ProfileRequest, threading.Event], bytes]


class _Pending(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An order that was accepted and is not answered yet."""

    command: str
    order: ProfileOrder


def refuse_profile(command: Command) -> Callable[[], None]:
    """For a device without the means.

    Raises:
        Unfit: always.
    """
    raise Unfit("profile-unavailable", f"this agent measures no profiles ({command.id})", "Update the agent")


class Profiles:
    """Owns ``profiles/`` of the state folder. Owned by the daemon's loop; `run` is called on the build lane."""

    def __init__(self, state: Path, fleet: str, device: str, lanes: Lanes, run: Run, changed: Callable[[], None]) -> None:
        self._state = state
        self._fleet, self._device = fleet, device
        self._lanes = lanes
        self._run = run
        self._changed = changed
        self._folder = state / "profiles"
        make_folder(self._folder)
        remove_leftovers(self._folder)
        self.spool = Outbox(state, SPOOLED_PROFILES * MAX_PROFILE_PARTS, folder="profiles/outbox", in_flight=PARTS_IN_FLIGHT)
        self._answer_interrupted()

    def prepare(self, command: Command) -> Callable[[], None]:
        """Write the order down; the returned call begins it.

        Raises:
            Rejected: ``profile-malformed`` or ``model-unknown``.
            Unfit: ``profile-busy``, or the disk's error.
        """
        order = command.profile
        if order is None or not command.id.isalnum():
            raise Rejected("profile-malformed", "the command says not what to profile", "Use edgewright fleet profile")
        if order.model is not None:
            self._engine(order.model)
        if len(list(self._folder.glob("*.json"))) >= MAX_WAITING:
            raise Unfit("profile-busy", f"{MAX_WAITING} profiles wait on this device already", "Ask again when they have come")
        pending = _Pending(command.id, order)
        write_atomic(self._file(pending), msgspec.json.encode(pending))
        return lambda: self._begin(pending)

    def _begin(self, pending: _Pending) -> None:
        def work(cancel: threading.Event) -> ProfileReport:
            path, deployment = (None, None) if pending.order.model is None else self._engine(pending.order.model)
            request = ProfileRequest(order=pending.order, path=path, state=str(self._state))
            profile = msgspec.json.decode(self._run(request, cancel), type=Profile)
            return ProfileReport(command=pending.command, deployment=deployment, profile=profile)

        job = Job(
            f"profile {pending.command}",
            work,
            lambda report: self._answer(pending, report),
            lambda reason: self._answer(pending, ProfileReport(command=pending.command, reason=reason)),
        )
        self._lanes.submit("build", job)

    def _answer(self, pending: _Pending, report: ProfileReport) -> None:
        """Spool the report; then the order is done with. A trace that is too long goes without: the numbers are worth more."""
        data = msgspec.json.encode(report)
        if len(data) > MAX_PROFILE_BYTES and report.profile is not None:
            log.warning("The profile %s has %d bytes and goes without its trace", pending.command, len(data))
            data = msgspec.json.encode(msgspec.structs.replace(report, profile=msgspec.structs.replace(report.profile, trace=None)))
        pieces = [data[start : start + PROFILE_PART_BYTES] for start in range(0, len(data), PROFILE_PART_BYTES)]
        for index, piece in enumerate(pieces):
            part = ProfilePart(fleet=self._fleet, device=self._device, command=pending.command, part=index, parts=len(pieces), data=piece)
            self.spool.put(f"{pending.command}-{index:03d}.json", encode(part))
        self._file(pending).unlink(missing_ok=True)
        self._changed()

    def _answer_interrupted(self) -> None:
        for path in sorted(self._folder.glob("*.json")):
            try:
                pending = msgspec.json.decode(path.read_bytes(), type=_Pending)
            except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                log.warning("Dropped the order %s: %s", path.name, error)
                path.unlink(missing_ok=True)
                continue
            reason = Reason("profile-interrupted", "the agent was started again while it measured", "Ask again", "unfit")
            try:
                self._answer(pending, ProfileReport(command=pending.command, reason=reason))
            except EdgewrightError as error:
                log.warning("The order %s stays unanswered: %s", pending.command, error.reason.line())

    def _file(self, pending: _Pending) -> Path:
        return self._folder / f"{pending.command}.json"

    def _engine(self, model: str) -> tuple[str, str]:
        """The folder of the engine that runs, and the deployment it is of."""
        slots = ModelSlots(self._state, model)
        running = slots.read().running
        if running is None:
            raise Rejected("model-unknown", f"no engine of {model!r} runs on this device", "edgewright fleet devices shows what runs")
        return str(slots.engines / running.folder), running.deployment
