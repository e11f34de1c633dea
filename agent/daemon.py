"""The daemon: one loop that owns every changeable thing. Other threads only schedule calls in it.

At the start: lock the state folder, load the journal, connect. In the loop: what arrived, then what is due. Waits are on the monotonic clock.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from ..core.anchor import FOLLOWED_NAME
from ..core.errors import EdgewrightError, Reason
from ..core.trust import Verified, VerifyRequest
from ..core.wire.messages import Capabilities, Command, Desired, Reply
from . import projection, requests, steps
from .clock import best_time_s
from .config import AgentConfig
from .deployer import Deployer, Parts
from .envelopes import Envelopes, Kind, Receiver
from .identity import keep_certificate
from .journal import JournalFile, count_start
from .lanes import Job, Lanes
from .launch import LAUNCHED_VARIABLE
from .ledger import Ledger
from .logs import about
from .meter import Meter
from .notify import Watchdog
from .outbox import Outbox
from .profiles import Profiles
from .session import Arrivals, Session, link_options
from .state import lock_state
from .store import Store
from .telemetry import TelemetrySource
from .version import running_folder
from .vitals import boot_id, read_vitals

log = logging.getLogger(__name__)

REPORT_INTERVAL_S = 1.0
STOP_S = 5.0
Call = Callable[..., None]


class Daemon:
    """Built from a configuration; `run` blocks until `stop`."""

    def __init__(self, config: AgentConfig) -> None:
        """Raises:
        Rejected: the configuration names files that cannot be read.
        Unfit: ``state-unusable`` or ``state-locked``.
        """
        self.config = config
        self._calls: queue.SimpleQueue[tuple[Call, tuple[Any, ...]]] = queue.SimpleQueue()
        self._stopping = False
        self._is_report_due = False
        self._reported_s = 0.0
        self.capabilities: Capabilities | None = None
        self.problems: dict[str, Reason] = {}
        options = link_options(config)
        self._lock = lock_state(config.state)
        start = count_start(config.state, config.enrolment)
        store, file = Store(config.state), JournalFile(config.state)
        self.lanes = Lanes(self.post)
        self.outbox = Outbox(config.state, config.limits.outbox_events, max_bytes=config.limits.outbox_bytes)
        ledger = Ledger(file, file.load(start), self.outbox, config.fleet, config.device)
        arrivals = Arrivals(
            up=self._link_up,
            down=self._link_down,
            envelope=self._envelope_arrived,
            blob=self._blob_arrived,
            published=self._published,
            problem=lambda reason: self._problem("link", reason),
        )
        self.session = Session(config.fleet, config.device, options, boot_id(), start, arrivals, self.post)
        self.meter = Meter(
            config.state, config.link, lambda: self.session.traffic.total_bytes, lambda: best_time_s(time.time(), ledger.journal.signed_s)
        )
        self.profiles = Profiles(config.state, config.fleet, config.device, self.lanes, steps.profile, self._changed)
        self.deployer = Deployer(
            Parts(
                config,
                store,
                ledger,
                self.lanes,
                steps.WorkerSteps(config, store),
                ask=self.session.ask,
                changed=self._changed,
                prepare_profile=self.profiles.prepare,
                post=self.post,
                why_hold=lambda order: self.meter.why_not(is_urgent=order.is_urgent),
                make_way=self._make_way if os.environ.get(LAUNCHED_VARIABLE) else None,
                running_version=running_folder(config.state),
            )
        )
        receiver = Receiver(self._verify, self._want, self._obey, lambda: self.deployer.journal.desired_digest, self._problem)
        self.envelopes = Envelopes(receiver, self.lanes)
        self.telemetry = TelemetrySource(config.state, start, config.telemetry.interval_s, self.session)
        self.watchdog = Watchdog(lambda: self.session.is_alive)

    def post(self, call: Call, *arguments: Any) -> None:
        """Schedule a call in the loop; from any thread."""
        self._calls.put((call, arguments))

    def stop(self) -> None:
        """From any thread, or from a signal handler."""
        self.post(self._stop)

    def _stop(self) -> None:
        self._stopping = True

    def _make_way(self) -> None:
        if not self._stopping:
            log.info("Another version of the agent takes over")
            self._stopping = True

    def run(self) -> None:
        """Work until `stop`. An error that nobody expected is logged and the loop goes on: the journal is whole after every call."""
        self.lanes.submit("short", Job("capabilities", steps.look_at_device, self._device_known, self._device_unknown))
        self.session.start()
        self.watchdog.ready()
        self._guarded(self.deployer.advance)
        while not self._stopping:
            try:
                call, arguments = self._calls.get(timeout=self._wait_s())
            except queue.Empty:
                self._turn()
                continue
            self._guarded(call, *arguments)
            # Frames come by the hundred; timers are looked at when none waits.
            while not self._stopping and not self._calls.empty():
                call, arguments = self._calls.get()
                self._guarded(call, *arguments)
            self._turn()
        self.watchdog.stopping()
        self.lanes.stop(STOP_S)
        self._guarded(self.meter.turn)
        self.session.stop()
        os.close(self._lock)

    def _guarded(self, call: Call, *arguments: Any) -> None:
        try:
            call(*arguments)
        except EdgewrightError as error:
            log.warning("%s", error.reason.line(), extra=about(reason=error.reason))
        except Exception:
            log.exception("A step of the daemon failed")

    # --- time ---

    def _due(self) -> list[tuple[float | None, Call]]:
        """What has to be done when, on the monotonic clock."""
        return [
            (self.deployer.downloads.next_timeout_s(), self.deployer.downloads.pump),
            (self.deployer.next_turn_s(), self.deployer.advance),
            (self.envelopes.next_turn_s(), self.envelopes.turn),
            (self.telemetry.due_s, self.telemetry.turn),
            (self.watchdog.due_s, self.watchdog.feed),
            (self.meter.due_s, self.meter.turn),
            (self._reported_s + REPORT_INTERVAL_S if self._is_report_due else None, self._report),
        ]

    def _wait_s(self) -> float | None:
        times = [due_s for due_s, _ in self._due() if due_s is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _turn(self) -> None:
        """Whatever is due now."""
        now_s = time.monotonic()
        for due_s, call in self._due():
            if due_s is not None and now_s >= due_s:
                self._guarded(call)

    # --- reports ---

    def _changed(self) -> None:
        """After a durable change: spooled events go out at once, the whole report at most once a second."""
        if self.session.is_connected:
            self._flush()
        self._is_report_due = True

    def _flush(self) -> None:
        self.outbox.flush(self.session.publish_event)
        self.profiles.spool.flush(self.session.publish_profile)
        self.telemetry.flush()

    def _report(self) -> None:
        self._is_report_due = False
        self._reported_s = time.monotonic()
        if self.session.is_connected:
            self.session.report(projection.reported(self.deployer, self.session.number, self.all_problems()))

    def _problem(self, key: str, reason: Reason | None) -> None:
        """Make `reason` a problem in the report, or take it back."""
        if reason is not None:
            self.problems[key] = reason
            self._is_report_due = True
        elif self.problems.pop(key, None) is not None:
            self._is_report_due = True

    def all_problems(self) -> tuple[Reason, ...]:
        return (*self.problems.values(), *self.deployer.problems.values())

    # --- arrivals ---

    def _link_up(self) -> None:
        self._problem("link", None)
        self.deployer.is_link_up = True
        self._guarded(self.session.announce, self.capabilities)
        self._flush()
        self._guarded(self._report)
        self.deployer.advance()

    def _link_down(self) -> None:
        self.deployer.is_link_up = False
        self.deployer.downloads.link_lost()
        self.deployer.advance()

    def _published(self, message_id: int) -> None:
        if any(spool.acknowledged(message_id) for spool in (self.outbox, self.profiles.spool, self.telemetry.spool)):
            self._flush()

    def _blob_arrived(self, payload: bytes) -> None:
        self.deployer.downloads.frame(payload)

    def _envelope_arrived(self, kind: Kind, payload: bytes) -> None:
        self.envelopes.arrived(kind, payload)

    def _verify(self, kind: Kind, payload: bytes) -> Callable[[threading.Event], Verified]:
        """The lane's job that has a child verify an envelope, against what is accepted by now."""
        journal = self.deployer.journal
        request = VerifyRequest(
            trust=str(self.config.trust),
            envelope=payload,
            fleet=self.config.fleet,
            device=self.config.device,
            last_sequence=journal.desired_sequence if kind == "desired" else journal.command_sequence,
            now_s=best_time_s(time.time(), journal.signed_s),
            followed=str(self.config.state / FOLLOWED_NAME),
        )
        return lambda cancel: steps.verify(request, cancel)

    def _want(self, desired: Desired, digest: str) -> None:
        if desired.certificate is not None:
            renewed = keep_certificate(self.config, desired.certificate)
            if renewed is not None:
                assert self.config.broker.tls_key is not None
                self.session.use_certificate(renewed, self.config.folder / self.config.broker.tls_key)
                log.info("A later certificate is used from the next connection on")
        requests.want(self.deployer, desired, digest)

    def _obey(self, command: Command) -> None:
        reason = requests.obey(self.deployer, command)
        reply = Reply(fleet=self.config.fleet, device=self.config.device, id=command.id, sequence=command.sequence, ok=reason is None, reason=reason)
        self.session.publish("reply", reply)
        self._is_report_due = True

    def _device_known(self, facts: steps.DeviceFacts) -> None:
        free_mb = read_vitals(self.config.state).disk_free_mb
        self.capabilities = projection.capabilities(self.config, facts, None if free_mb is None else round(free_mb))
        self.deployer.runtime = facts.runtime
        if self.session.is_connected:
            self.session.publish("capabilities", self.capabilities)
        self.deployer.advance()

    def _device_unknown(self, reason: Reason) -> None:
        self._problem("capabilities", reason)
