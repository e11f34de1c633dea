"""The daemon: one loop that owns every changeable thing. Other threads only schedule calls in it.

At the start: lock the state folder, load the journal, connect. In the loop: what arrived, then what is due. Waits are on the monotonic clock.
"""

from __future__ import annotations

import fcntl
import logging
import os
import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core.digest import digest_of_bytes
from ..core.errors import EdgewrightError, Reason, Rejected, Unfit
from ..core.files import remove_leftovers
from ..core.trust import Verified, VerifyRequest
from ..core.wire.messages import Capabilities, Command, Reply, Telemetry
from . import projection, requests, steps
from .actions import download_ended
from .clock import best_time_s
from .config import AgentConfig, link_options
from .deployer import Deployer, Parts
from .downloads import Downloads
from .inbox import Request
from .journal import JournalFile
from .lanes import Job, Lanes
from .outbox import Outbox
from .session import Arrivals, Session
from .store import Store
from .vitals import boot_id, cpu_percent, read_vitals

log = logging.getLogger(__name__)

REPORT_INTERVAL_S = 1.0
STOP_S = 5.0
Call = Callable[..., None]


class Daemon:
    """Built from a configuration; `run` blocks until `stop`."""

    def __init__(self, config: AgentConfig) -> None:
        self.config = config
        self._calls: queue.SimpleQueue[tuple[Call, tuple[Any, ...]]] = queue.SimpleQueue()
        self._stopping = False
        self._is_report_due = False
        self._reported_s = 0.0
        self.capabilities: Capabilities | None = None
        self.problems: dict[str, Reason] = {}
        self._lock = _lock_state(config.state)
        options = link_options(config)
        store = Store(config.state)
        journal_file = JournalFile(config.state)
        journal = journal_file.load()
        journal.starts += 1
        journal_file.save(journal)
        self.lanes = Lanes(self.post)
        self.outbox = Outbox(config.state, config.limits.outbox_events)
        self.deployer = Deployer(Parts(config, store, journal_file, self.outbox, self.lanes, self._changed), journal)
        self.downloads = self.deployer.downloads = Downloads(
            store, self.lanes, self._ask, self._download_ended, config.limits.window, config.limits.chunk_timeout_s
        )
        arrivals = Arrivals(
            up=self._link_up,
            down=self._link_down,
            desired=self._desired_arrived,
            command=self._command_arrived,
            blob=self.downloads.frame,
            published=self._published,
            problem=self._link_problem,
        )
        self.session = Session(config.fleet, config.device, options, boot_id(), journal.starts, arrivals, self.post)
        self._vitals = read_vitals(config.state)
        self._telemetry_s = time.monotonic() + config.telemetry.interval_s

    def post(self, call: Call, *arguments: Any) -> None:
        """Schedule a call in the loop; from any thread."""
        self._calls.put((call, arguments))

    def stop(self) -> None:
        """From any thread, or from a signal handler."""
        self.post(self._stop)

    def _stop(self) -> None:
        self._stopping = True

    def run(self) -> None:
        """Work until `stop`. An error that nobody expected is logged and the loop goes on: the journal is whole after every call."""
        self.lanes.submit("short", Job("capabilities", steps.look_at_device, self._device_known, self._device_unknown))
        self.session.start()
        self.deployer.advance()
        while not self._stopping:
            try:
                call, arguments = self._calls.get(timeout=self._wait_s())
            except queue.Empty:
                self._turn()
                continue
            self._guarded(call, arguments)
            # Frames come by the hundred; timers are looked at when none waits.
            while not self._stopping and not self._calls.empty():
                self._guarded(*self._calls.get())
            self._turn()
        self.lanes.stop(STOP_S)
        self.session.stop()
        os.close(self._lock)

    def _guarded(self, call: Call, arguments: tuple[Any, ...]) -> None:
        try:
            call(*arguments)
        except EdgewrightError as error:
            log.warning("%s", error.reason.line())
            self.problems["loop"] = error.reason
        except Exception:
            log.exception("A step of the daemon failed")

    # --- time ---

    def _wait_s(self) -> float | None:
        now_s = time.monotonic()
        times = [self.downloads.next_timeout_s(), self.deployer.next_turn_s()]
        if self.config.telemetry.interval_s > 0:
            times.append(self._telemetry_s)
        if self._is_report_due:
            times.append(self._reported_s + REPORT_INTERVAL_S)
        due = [entry for entry in times if entry is not None]
        return max(0.0, min(due) - now_s) if due else None

    def _turn(self) -> None:
        """Whatever is due now."""
        now_s = time.monotonic()
        timeout_s = self.downloads.next_timeout_s()
        if timeout_s is not None and now_s >= timeout_s:
            self.downloads.pump()
        turn_s = self.deployer.next_turn_s()
        if turn_s is not None and now_s >= turn_s:
            self._guarded(self.deployer.advance, ())
        if self.config.telemetry.interval_s > 0 and now_s >= self._telemetry_s:
            self._telemetry_s = now_s + self.config.telemetry.interval_s
            self._guarded(self._send_telemetry, ())
        if self._is_report_due and now_s >= self._reported_s + REPORT_INTERVAL_S:
            self._guarded(self._report, ())

    # --- reports ---

    def _changed(self) -> None:
        """After a durable change: spooled events go out at once, the whole report at most once a second."""
        if self.session.is_connected:
            self.outbox.flush(self.session.publish_event)
        self._is_report_due = True

    def _report(self) -> None:
        self._is_report_due = False
        self._reported_s = time.monotonic()
        if self.session.is_connected:
            self.session.report(projection.reported(self.deployer, self.session.number, self.all_problems()))

    def all_problems(self) -> tuple[Reason, ...]:
        return (*self.problems.values(), *self.deployer.problems.values())

    def _send_telemetry(self) -> None:
        vitals, before = read_vitals(self.config.state), self._vitals
        self._vitals = vitals
        message = Telemetry(
            fleet=self.config.fleet,
            device=self.config.device,
            time_s=time.time(),
            uptime_s=vitals.uptime_s,
            cpu_percent=cpu_percent(before, vitals),
            memory_used_mb=vitals.memory_used_mb,
            disk_free_mb=vitals.disk_free_mb,
            temperature_c=vitals.temperature_c,
            power_reason="the idle agent reads no power sensor; edgewright power does",
        )
        if self.session.is_connected:
            self.session.publish("telemetry", message)

    # --- arrivals ---

    def _link_up(self) -> None:
        self.problems.pop("link", None)
        self.session.announce(self.capabilities, projection.reported(self.deployer, self.session.number, self.all_problems()))
        self.outbox.flush(self.session.publish_event)
        self.deployer.is_link_up = True
        self.deployer.advance()

    def _link_down(self) -> None:
        self.deployer.is_link_up = False
        self.downloads.link_lost()
        self.deployer.advance()

    def _link_problem(self, reason: Reason) -> None:
        self.problems["link"] = reason
        self._is_report_due = True

    def _published(self, message_id: int) -> None:
        if self.outbox.acknowledged(message_id):
            self.outbox.flush(self.session.publish_event)

    def _ask(self, request: Request) -> bool:
        return self.session.ask(request)

    def _download_ended(self, model: str, reason: Reason | None) -> None:
        download_ended(self.deployer, model, reason)

    def _desired_arrived(self, payload: bytes) -> None:
        digest = digest_of_bytes(payload)
        if digest == self.deployer.journal.desired_digest:
            return  # the retained goal comes again with every connect

        def done(verified: Verified) -> None:
            if verified.desired is not None:
                self.problems.pop("desired", None)
                requests.want(self.deployer, verified.desired, digest)

        self._verify(payload, self.deployer.journal.desired_sequence, "desired", done)

    def _command_arrived(self, payload: bytes) -> None:
        def done(verified: Verified) -> None:
            if verified.command is not None:
                self.problems.pop("command", None)
                self._obey(verified.command)

        self._verify(payload, self.deployer.journal.command_sequence, "command", done)

    def _obey(self, command: Command) -> None:
        reason = None
        try:
            requests.obey(self.deployer, command)
        except EdgewrightError as error:
            reason = error.reason
        reply = Reply(fleet=self.config.fleet, device=self.config.device, id=command.id, sequence=command.sequence, ok=reason is None, reason=reason)
        self.session.publish("reply", reply)
        self._is_report_due = True

    def _verify(self, payload: bytes, last_sequence: int, kind: str, done: Callable[[Verified], None]) -> None:
        """Have a child verify an envelope. What is refused becomes a problem in the report; nothing else changes."""
        request = VerifyRequest(
            trust=str(self.config.trust),
            envelope=payload,
            fleet=self.config.fleet,
            device=self.config.device,
            last_sequence=last_sequence,
            now_s=best_time_s(time.time(), self.deployer.journal.signed_s),
        )

        def failed(reason: Reason) -> None:
            log.warning("Refused a %s message: %s", kind, reason.line())
            self.problems[kind] = reason
            self._is_report_due = True

        def checked(verified: Verified) -> None:
            content = verified.desired or verified.command
            if content is None or (content.sequence <= last_sequence):
                raise Rejected("envelope-replayed", f"a {kind} message came twice", "")
            done(verified)

        self.lanes.submit("short", Job(f"verify {kind}", lambda cancel: steps.verify(request, cancel), checked, failed))

    def _device_known(self, facts: steps.DeviceFacts) -> None:
        free_mb = self._vitals.disk_free_mb
        self.capabilities = projection.capabilities(self.config, facts, None if free_mb is None else round(free_mb))
        self.deployer.runtime = facts.runtime
        if self.session.is_connected:
            self.session.publish("capabilities", self.capabilities)
        self.deployer.advance()

    def _device_unknown(self, reason: Reason) -> None:
        self.problems["capabilities"] = reason
        self._is_report_due = True


def _lock_state(state: Path) -> int:
    """Make the state folder ours.

    Raises:
        Unfit: ``state-unusable`` or ``state-locked``.
    """
    try:
        state.mkdir(parents=True, exist_ok=True)
        remove_leftovers(state)
        descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"the state folder {state} cannot be used: {error.strerror}"
        raise Unfit("state-unusable", message, "Correct paths.state, or the folder's owner") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Unfit("state-locked", f"another agent uses {state}", "Stop it, or give this one its own paths.state") from None
    return descriptor
