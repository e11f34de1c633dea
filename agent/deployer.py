"""Carries the plan out. The one owner of the journal: persist the intent, act, persist the result, report.

Everything here runs in the daemon's loop and returns at once; what blocks goes to a lane and comes back as a call.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..core.artifact import walk_blobs
from ..core.errors import EdgewrightError, Reason
from ..core.wire.messages import Event, State
from .acceptance import check_order
from .config import AgentConfig
from .deployment import Happening, after, is_open
from .downloads import Downloads, artifacts
from .journal import DeploymentRecord, Journal, JournalFile, ModelRecord
from .lanes import Job, LaneName, Lanes
from .outbox import Outbox
from .plan import Action, Facts, next_action
from .slots import ModelSlots, Slot, all_models
from .store import Store

log = logging.getLogger(__name__)

SAVE_ELAPSED_S = 30.0


@dataclass(slots=True)
class Parts:
    """What the deployer works with. `changed` is called after every durable change; `post` schedules a call in the loop."""

    config: AgentConfig
    store: Store
    journal_file: JournalFile
    outbox: Outbox
    lanes: Lanes
    changed: Callable[[], None]
    clock_s: Callable[[], float] = time.time
    monotonic_s: Callable[[], float] = time.monotonic


class Deployer:
    """Advances every model's deployment as far as it goes."""

    def __init__(self, parts: Parts, journal: Journal) -> None:
        self._parts = parts
        self.journal = journal
        self.runtime = ""
        self.is_link_up = False
        self.problems: dict[str, Reason] = {}
        self.progress_notes: dict[str, tuple[float, str]] = {}
        self.downloads: Downloads | None = None
        self._busy: dict[str, Job[object]] = {}
        self._watch: dict[str, float] = {}
        self._counted_s = parts.monotonic_s()
        self._saved_s = self._counted_s
        for name in all_models(parts.config.state):
            self.slots(name).repair()
            if name not in journal.models:
                journal.models[name] = ModelRecord()
        if journal.last_event is not None:
            # The event of the last change may not have reached the outbox: receivers drop the second one.
            parts.outbox.add(journal.last_event)

    def slots(self, model: str) -> ModelSlots:
        return ModelSlots(self._parts.config.state, model)

    # --- the loop ---

    def advance(self) -> None:
        """Do what can be done now for every model."""
        self._count_time()
        for name in list(self.journal.models):
            try:
                self._advance_model(name)
                self.problems.pop(f"model-{name}", None)
            except EdgewrightError as error:
                # What could not be persisted did not happen; it is tried again at the next turn of the loop.
                log.warning("%s: %s", name, error.reason.line())
                self.problems[f"model-{name}"] = error.reason
            except OSError as error:
                log.exception("%s: the file system failed", name)
                self.problems[f"model-{name}"] = Reason("disk-failed", f"{name}: {error}", "Check the disk of this device")

    def _advance_model(self, name: str) -> None:
        for _ in range(32):  # far more than the longest chain of immediate actions
            record = self.journal.models.get(name)
            action = None if record is None else next_action(self._facts(name, record))
            if action is None:
                return
            if name in self._busy:
                if action.verb in {"end", "undo", "remove"} and action.reason is not None:
                    self._busy[name].cancel.set()
                return
            if not self._act(name, action):
                return

    def _facts(self, name: str, record: ModelRecord) -> Facts:
        downloading = self.downloads.model if self.downloads is not None else ""
        return Facts(
            record=record,
            slots=self.slots(name).read(),
            is_link_up=self.is_link_up,
            is_download_free=downloading in {"", name},
            runtime=self.runtime,
            is_goal_known=self.journal.desired_sequence > 0,
            max_deadline_s=self._parts.config.limits.max_deadline_s,
        )

    def _act(self, name: str, action: Action) -> bool:
        """Carry one action out; returns whether the plan should be asked again at once."""
        from .actions import ACTIONS

        return ACTIONS[action.verb](self, name, action)

    # --- what actions are made of ---

    @property
    def parts(self) -> Parts:
        return self._parts

    def deployment(self, name: str) -> DeploymentRecord:
        current = self.journal.models[name].deployment
        assert current is not None
        return current

    def work(self, deployment: DeploymentRecord) -> Path:
        return self._parts.config.state / "work" / deployment.engine_folder

    def submit(self, lane: LaneName, name: str, job: Job[object]) -> None:
        """Run a job for one model; until it is over the plan of that model waits."""
        done, failed = job.done, job.failed

        def release_then(call: Callable[[object], None]) -> Callable[[object], None]:
            def released(value: object) -> None:
                self._busy.pop(name, None)
                self.progress_notes.pop(name, None)
                call(value)
                self.advance()

            return released

        job.done, job.failed = release_then(done), release_then(failed)  # type: ignore[arg-type] # Reason is an object too
        self._busy[name] = job
        self._parts.lanes.submit(lane, job)

    def happen(self, name: str, happening: Happening, reason: Reason | None = None, **changes: object) -> None:
        """One transition: persisted, then spooled as an event, then reported.

        Raises:
            Unfit: the journal could not be written; nothing has changed.
        """
        record = self.journal.models[name]
        old = self.deployment(name)
        new = msgspec.structs.replace(old, state=after(old.state, happening), reason=reason, **changes)
        record.deployment = new
        try:
            self._persist_event(name, new)
        except BaseException:
            record.deployment = old
            raise
        log.info("%s: %s is %s%s", name, new.order.deployment, new.state, f" ({reason.line()})" if reason else "")
        if not is_open(new.state):
            self._closed(name, new.state)
        self._parts.changed()

    def begin(self, name: str, deployment: DeploymentRecord) -> None:
        """A new deployment takes the place of the last one's record."""
        record = self.journal.models[name]
        old, record.deployment = record.deployment, deployment
        try:
            self._persist_event(name, deployment)
        except BaseException:
            record.deployment = old
            raise
        self._parts.changed()

    def _persist_event(self, name: str, deployment: DeploymentRecord) -> None:
        journal, config = self.journal, self._parts.config
        before = journal.event_sequence, journal.last_event
        journal.event_sequence += 1
        has_news = deployment.state in {"MEASURED", "SUCCEEDED", "REJECTED", "FAILED"}
        journal.last_event = Event(
            fleet=config.fleet,
            device=config.device,
            id=f"{config.device}-{journal.event_sequence}",
            sequence=journal.event_sequence,
            deployment=deployment.order.deployment,
            model=name,
            attempt=deployment.attempt,
            state=deployment.state,
            time_s=self._parts.clock_s(),
            reason=deployment.reason,
            measurement=deployment.measurement if has_news else None,
        )
        try:
            self.save()
        except BaseException:
            journal.event_sequence, journal.last_event = before
            raise
        self._parts.outbox.add(journal.last_event)

    def _closed(self, name: str, state: State) -> None:
        self._watch.pop(name, None)
        if self.downloads is not None:
            self.downloads.stop(name)
        shutil.rmtree(self.work(self.deployment(name)), ignore_errors=True)
        self.slots(name).clean()
        self.collect_garbage()
        log.info("%s: closed as %s", name, state)

    def collect_garbage(self) -> None:
        """Keep the blobs of open deployments and of those that run (a new runtime builds them again), and no others."""
        keep: set[str] = set()
        for record in self.journal.models.values():
            current = record.deployment
            if current is not None and (is_open(current.state) or current.state == "SUCCEEDED"):
                keep |= {blob.digest for artifact in artifacts(current.order) for blob in walk_blobs(artifact)}
        self._parts.store.keep_only(keep)

    def forget(self, name: str) -> None:
        """The model is gone from this device."""
        self.slots(name).remove()
        del self.journal.models[name]
        self.save()
        self.collect_garbage()
        self._parts.changed()

    def save(self) -> None:
        self._parts.journal_file.save(self.journal)
        self._saved_s = self._parts.monotonic_s()

    def _count_time(self) -> None:
        now_s = self._parts.monotonic_s()
        passed_s, self._counted_s = now_s - self._counted_s, now_s
        is_working = False
        for record in self.journal.models.values():
            current = record.deployment
            if current is not None and is_open(current.state):
                is_working = True
                current.elapsed_s += passed_s
                if current.state == "PROBATION":
                    current.probation_s += passed_s
        if is_working and now_s - self._saved_s > SAVE_ELAPSED_S:
            self.save()

    def check(self, deployment: DeploymentRecord) -> None:
        """Whether this device takes the order at all.

        Raises:
            EdgewrightError: it does not.
        """
        check_order(deployment.order, self._parts.config, self._parts.store)

    def watch_due(self, name: str) -> bool:
        """Whether the next look at an engine on probation is due; sets the one after."""
        now_s = self._parts.monotonic_s()
        if now_s < self._watch.get(name, 0.0):
            return False
        self._watch[name] = now_s + self._parts.config.model(name).health_interval_s
        return True

    def next_turn_s(self) -> float | None:
        """When `advance` has to be called at the latest, on the monotonic clock."""
        times: list[float] = []
        for name, record in self.journal.models.items():
            current = record.deployment
            if current is None or not is_open(current.state):
                continue
            # Elapsed times are true as of the last count.
            left_s = min(current.order.deadline_s, self._parts.config.limits.max_deadline_s) - current.elapsed_s
            times.append(self._counted_s + min(SAVE_ELAPSED_S, max(1.0, left_s)))
            if current.state == "PROBATION" and name not in self._busy:
                times.append(self._counted_s + max(0.05, self.probation_limit_s(current) - current.probation_s))
                if self._parts.config.model(name).health:
                    times.append(self._watch.get(name, 0.0))
        return min(times) if times else None

    def probation_limit_s(self, deployment: DeploymentRecord) -> float:
        return min(deployment.order.probation_s, self._parts.config.limits.max_probation_s)

    def trial_slot(self, deployment: DeploymentRecord) -> Slot:
        chosen = deployment.measurement.chosen if deployment.measurement else None
        return Slot(
            folder=deployment.engine_folder,
            deployment=deployment.order.deployment,
            version=deployment.order.version,
            backend=chosen.backend if chosen else "",
            engine_digest=deployment.engine_digest,
            since_s=self._parts.clock_s(),
            runtime=deployment.runtime,
        )
