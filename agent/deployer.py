"""Carries the plan out: persist the intent, act, persist the result, report.

Everything here runs in the daemon's loop and returns at once; what blocks goes to a lane and comes back as a call. A step that fails because of
this device's disk, or of a fault of ours, is tried again after `RETRY_S`; it does not keep other models from going on.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ..core.activation import may_activate
from ..core.errors import EdgewrightError, Reason
from ..core.wire.messages import AGENT_MODEL, Order
from . import upkeep
from .actions import ACTIONS, download_ended
from .clock import best_time_s
from .config import AgentConfig
from .deployment import Happening, after, is_open
from .downloads import Downloads
from .idleness import Idleness
from .inbox import Request
from .journal import DeploymentRecord, Journal, ModelRecord
from .lanes import Job, LaneName, Lanes
from .ledger import Ledger
from .logs import about
from .plan import Facts, next_action
from .profiles import PrepareProfile, refuse_profile
from .slots import ModelSlots
from .steps import Steps
from .store import Store
from .version import Version, runtime
from .vitals import read_vitals, written_bytes
from .wear import Wear
from .wiping import Wiping

log = logging.getLogger(__name__)

SAVE_ELAPSED_S = 30.0
PROGRESS_S = 5.0
START_S = 10.0
"""What a start costs of a deployment's deadline: time that nobody counted. A deployment that kills its agent comes to an end all the same."""
RETRY_S = 10.0
LOOK_S = 5.0
"""Between two looks whether a staged engine may be activated."""
MAX_ACTIONS = 32
"""In one go for one model: far more than the longest chain of immediate ones."""
MAX_PROGRESS_NOTE = 128


@dataclass(slots=True)
class Parts:
    """What the deployer works with. `ask` sends a request for chunks and returns False when the link is down; `changed` is called after every
    change that the fleet should hear of. `prepare_profile` writes down that a profile is wanted and returns what begins it. `post` hands a call of
    another thread to the loop. `why_hold` says why the link may not carry an order's files now, if so. `make_way` ends this agent in favour of
    another version of it, None = it cannot be exchanged; `running_version` is the folder that it runs from, empty for the installation's own.
    `written_bytes` counts what this process and its children have written so far.
    """

    config: AgentConfig
    store: Store
    ledger: Ledger
    lanes: Lanes
    steps: Steps
    ask: Callable[[Request], bool]
    changed: Callable[[], None]
    prepare_profile: PrepareProfile = refuse_profile
    post: Callable[[Callable[[], None]], None] = lambda call: call()
    why_hold: Callable[[Order], Reason | None] = lambda _order: None
    make_way: Callable[[], None] | None = None
    running_version: str = ""
    clock_s: Callable[[], float] = time.time
    monotonic_s: Callable[[], float] = time.monotonic
    written_bytes: Callable[[], int | None] = written_bytes


class Deployer:
    """Advances every model's deployment as far as it goes."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.ledger = parts.ledger
        self.runtime = ""
        self.is_link_up = False
        self.problems: dict[str, Reason] = {}
        self.idleness = Idleness(lambda: read_vitals(parts.config.state), parts.monotonic_s)
        self._busy: dict[str, Job[Any]] = {}
        self._watch: dict[str, float] = {}
        self._not_before: dict[str, float] = {}
        self._progress_told_s = -PROGRESS_S
        self._wear = Wear(parts.written_bytes)
        self._counted_s = self._saved_s = parts.monotonic_s()
        limits = parts.config.limits
        self.downloads = Downloads(
            parts.store,
            parts.lanes,
            lambda request: self.why_held(self.downloads.model) is None and parts.ask(request),
            lambda name, reason: download_ended(self, name, reason),
            given_up=lambda: upkeep.collect(self),
            rebuild=parts.steps.rebuild,
            window=limits.window,
            chunk_timeout_s=limits.chunk_timeout_s,
            monotonic_s=parts.monotonic_s,
        )
        self.wiping = Wiping(self)
        self.version = Version(self, parts.running_version)
        upkeep.after_start(self)

    @property
    def journal(self) -> Journal:
        return self.ledger.journal

    def slots(self, model: str) -> ModelSlots:
        return ModelSlots(self.parts.config.state, model)

    def deployment(self, name: str) -> DeploymentRecord:
        return self.ledger.deployment(name)

    def why_held(self, name: str) -> Reason | None:
        """Why the link may not carry the model `name` now, although it is up."""
        record = self.journal.models.get(name)
        current = None if record is None else record.deployment
        return None if current is None or current.state not in {"DOWNLOADING", "PAUSED"} else self.parts.why_hold(current.order)

    def runtime_of(self, name: str) -> str:
        """What engines of the model `name` are built with; another line means that they have to be built again."""
        return runtime() if name == AGENT_MODEL else self.runtime

    def is_busy(self, name: str) -> bool:
        """Whether a job of the model `name` is under way."""
        return name in self._busy

    @property
    def is_building(self) -> bool:
        """Whether an end of this process would cost work."""
        records = self.journal.models.values()
        return any(record.deployment is not None and record.deployment.state in {"OPTIMIZING", "ACTIVATING"} for record in records)

    def work(self, name: str) -> Path:
        """The folder that the deployment of the model `name` is built in."""
        return self.parts.config.state / "work" / f"{name}.{self.deployment(name).engine_folder}"

    # --- the loop ---

    def advance(self) -> None:
        """Do what can be done now for every model."""
        self._count_time()
        self.ledger.spool()
        self.note("outbox", self.ledger.trouble)
        for _ in range(len(self.journal.models) + 1):
            # One model's end may be what another one waits for.
            changed = [name for name in list(self.journal.models) if self._advance_model(name)]
            if not changed:
                break
        self.wiping.turn()
        self.version.turn()

    def _advance_model(self, name: str) -> bool:
        """Returns whether anything was done."""
        if self._is_put_off(name):
            return False
        actions = 0
        with self.guarded(name):
            while actions < MAX_ACTIONS and not self._is_put_off(name):
                record = self.journal.models.get(name)
                action = None if record is None else next_action(self._facts(name, record))
                if action is None:
                    break
                if name in self._busy:
                    if action.is_end:
                        self.parts.lanes.cancel(self._busy[name])
                    break
                actions += 1
                if not ACTIONS[action.verb](self, name, action):
                    break
        return actions > 0

    def _facts(self, name: str, record: ModelRecord) -> Facts:
        downloading = self.downloads.model
        return Facts(
            record=record,
            slots=self.slots(name).read(),
            is_link_up=self.is_link_up and self.why_held(name) is None,
            transfer="nobody's" if not downloading else "mine" if downloading == name else "another's",
            runtime=self.runtime_of(name),
            is_goal_known=self.journal.desired_sequence > 0,
            max_deadline_s=self.parts.config.limits.max_deadline_s,
            may_activate=self._may_activate(record.deployment),
        )

    def _may_activate(self, current: DeploymentRecord | None) -> bool:
        if current is None or current.state != "STAGED":
            return True
        policy = current.order.activation
        idle_s = self.idleness.idle_s(policy.idle_cpu_percent) if policy.kind == "idle" else 0.0
        return may_activate(policy, best_time_s(self.parts.clock_s(), self.journal.signed_s), idle_s)

    @contextlib.contextmanager
    def guarded(self, name: str) -> Iterator[None]:
        """The boundary of a step of the model `name`: what goes wrong is logged once, becomes a problem in the report, and is tried again later."""
        self._not_before.pop(name, None)
        self.note(f"model-{name}", None)
        try:
            yield
        except EdgewrightError as error:
            self.put_off(name, error.reason)
        except OSError as error:
            self.put_off(name, Reason("disk-failed", f"{name}: {error}", "Check the disk of this device", "unfit"))
        except Exception as error:
            log.exception("A step of %s failed", name, extra=about(name))
            message = f"a step of {name} failed: {type(error).__name__}: {error}"[:500]
            self.put_off(name, Reason("internal-error", message, "Report this with the agent's log"))

    def put_off(self, name: str, reason: Reason) -> None:
        """The model cannot go on now: not before `RETRY_S` from now, but for what its owner asks."""
        log.warning("%s: %s", name, reason.line(), extra=about(name, reason=reason))
        self._not_before[name] = self.parts.monotonic_s() + RETRY_S
        self.note(f"model-{name}", reason)

    def hurry(self, name: str) -> None:
        """Whatever the model was put off for: try now."""
        self._not_before.pop(name, None)

    def _is_put_off(self, name: str) -> bool:
        return self.parts.monotonic_s() < self._not_before.get(name, 0.0)

    def note(self, key: str, reason: Reason | None) -> None:
        """Make `reason` a problem in the report, or take it back."""
        if reason is not None:
            self.problems[key] = reason
            self.parts.changed()
        elif self.problems.pop(key, None) is not None:
            self.parts.changed()

    def next_turn_s(self) -> float | None:
        """When `advance` has to be called at the latest, on the monotonic clock."""
        times = [] if "outbox" not in self.problems else [self._counted_s + RETRY_S]
        for name, record in self.journal.models.items():
            if name in self._not_before:
                times.append(self._not_before[name])
            elif record.deployment is not None and is_open(record.deployment.state):
                times.append(self._turn_of(name, record.deployment))
        return min(times, default=None)

    def _turn_of(self, name: str, current: DeploymentRecord) -> float:
        """Elapsed times are true as of the last count."""
        left_s = min(current.order.deadline_s, self.parts.config.limits.max_deadline_s) - current.elapsed_s
        turn_s = self._counted_s + min(SAVE_ELAPSED_S, max(1.0, left_s))
        if current.state == "STAGED" and current.order.activation.kind != "at-once" and name not in self._busy:
            turn_s = min(turn_s, self._counted_s + LOOK_S)
        if current.state in {"DOWNLOADING", "PAUSED"} and self.is_link_up and self.why_held(name) is not None:
            turn_s = min(turn_s, self._counted_s + LOOK_S)
        if current.state == "PROBATION" and name not in self._busy:
            left_s = self.probation_limit_s(current) - current.probation_s
            is_waiting = left_s <= 0 and current.order.kind == "agent" and not self.is_link_up
            turn_s = min(turn_s, self._counted_s + (LOOK_S if is_waiting else max(0.05, left_s)))
            if self.parts.config.model(name).health:
                turn_s = min(turn_s, self._watch.get(name, 0.0))
        return turn_s

    def _count_time(self) -> None:
        now_s = self.parts.monotonic_s()
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
            self._saved_s = now_s
            self._save()

    def charge_start(self) -> None:
        """This process begins: what is under way has waited for it."""
        waited = [record.deployment for record in self.journal.models.values() if record.deployment is not None and is_open(record.deployment.state)]
        for current in waited:
            current.elapsed_s += START_S
        if waited:
            self._save()

    def _save(self) -> None:
        try:
            self.ledger.save()
        except (EdgewrightError, OSError) as error:
            log.warning("Elapsed times could not be saved: %s", error)

    # --- what actions are made of ---

    def submit(self, lane: LaneName, name: str, job: Job[Any]) -> None:
        """Run a job for one model; until it is over the plan of that model waits."""
        done, failed = job.done, job.failed

        def release_then(call: Callable[[Any], None]) -> Callable[[Any], None]:
            def released(value: Any) -> None:
                self._busy.pop(name, None)
                self._progress_told_s = -PROGRESS_S
                with self.guarded(name):
                    call(value)
                self.advance()

            return released

        job.done, job.failed = release_then(done), release_then(failed)
        self._busy[name] = job
        self.parts.lanes.submit(lane, job)

    def happen(self, name: str, happening: Happening, reason: Reason | None = None, **changes: object) -> None:
        """One transition: persisted, then spooled as an event, then reported.

        Raises:
            Unfit: the journal could not be written; nothing has changed.
        """
        record, old = self.journal.models[name], self.deployment(name)
        changes |= {"state": after(old.state, happening), "reason": reason, "written_bytes": self._wear.of(name, old)}
        new = msgspec.structs.replace(old, progress=None, progress_note="", **changes)
        others: dict[str, object] = {}
        if not is_open(new.state) and record.wanted is not None and record.wanted.key == new.order.key:
            others["settled"] = new.order.key
        if new.state == "SUCCEEDED":
            others["proven"] = new
            if record.proven is not None and record.proven.order.deployment != new.order.deployment:
                others["former"] = record.proven
        self.ledger.commit_deployment(name, new, **others)
        why = f" ({reason.line()})" if reason else ""
        subject = about(name, new.order.deployment, new.attempt, new.state, reason)
        log.info("%s: %s is %s%s", name, new.order.deployment, new.state, why, extra=subject)
        if not is_open(new.state):
            self._watch.pop(name, None)
            self.downloads.stop(name)
            upkeep.after_end(self, name)  # before it is told: who hears of the end finds nothing left over
        self._tell()

    def building(self, name: str, share: float, note: str) -> None:
        """A build is under way. Written down with the elapsed times, and the fleet hears of it every `PROGRESS_S`."""
        record = self.journal.models.get(name)
        if record is None or record.deployment is None or record.deployment.state != "OPTIMIZING":
            return  # what it belonged to has ended meanwhile
        record.deployment.progress, record.deployment.progress_note = share, note[:MAX_PROGRESS_NOTE]
        now_s = self.parts.monotonic_s()
        if now_s >= self._progress_told_s + PROGRESS_S:
            self._progress_told_s = now_s
            self.parts.changed()

    def record(self, name: str, deployment: DeploymentRecord, **others: object) -> None:
        """Make `deployment` the model's, and other fields of its record with it; the fleet hears of it.

        Raises:
            Unfit: as `happen`.
        """
        self._wear.of(name, deployment)
        self.ledger.commit_deployment(name, deployment, **others)
        self._tell()

    def _tell(self) -> None:
        self.note("outbox", self.ledger.trouble)
        self.parts.changed()

    def watch_due(self, name: str) -> bool:
        """Whether the next look at an engine on probation is due; sets the one after."""
        now_s = self.parts.monotonic_s()
        if now_s < self._watch.get(name, 0.0):
            return False
        self._watch[name] = now_s + self.parts.config.model(name).health_interval_s
        return True

    def probation_limit_s(self, deployment: DeploymentRecord) -> float:
        return min(deployment.order.probation_s, self.parts.config.limits.max_probation_s)
