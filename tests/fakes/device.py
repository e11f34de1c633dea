"""One device without threads, processes or a broker: the real deployer, store, slots and journal on a state folder, and deterministic fakes at
its seams (lanes, steps, clock, the controller's blobs). It can crash before or after any durable operation, and start again.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from edgewright.agent import requests
from edgewright.agent.config import AgentConfig, BrokerSection, LimitsSection, ModelSection, OptimizeSection, TelemetrySection
from edgewright.agent.deployer import Deployer, Parts
from edgewright.agent.inbox import Request
from edgewright.agent.journal import JournalFile, count_start
from edgewright.agent.lanes import Job
from edgewright.agent.launch import LINK
from edgewright.agent.ledger import Ledger
from edgewright.agent.outbox import Outbox
from edgewright.agent.shortcuts import Way, rebuild_request
from edgewright.agent.slots import ModelSlots, all_models
from edgewright.agent.steps import BuildOutcome
from edgewright.agent.store import Store
from edgewright.core.artifact import Artifact, Blob, describe_bytes, walk_blobs
from edgewright.core.budget import Budget, Verdict
from edgewright.core.errors import EdgewrightError, Reason
from edgewright.core.measurement import Candidate, Fidelity
from edgewright.core.wire.frames import CHUNK_BYTES, encode_chunk, encode_unknown_blob
from edgewright.core.wire.messages import Desired, Event, Measurement, Order, decode
from edgewright.engines.manifest import Manifest, list_files, write_manifest
from edgewright.engines.provenance import device_signer
from edgewright.pipeline.tasks import rebuild

MODEL = "surface"
RUNTIME = "onnxruntime 1.23.0"


class Crash(BaseException):
    """The process is no more. No handler of the program may see it."""


class FakeClock:
    """Both clocks; they move when they are told to."""

    def __init__(self) -> None:
        self.monotonic_now_s = 1000.0

    def monotonic_s(self) -> float:
        return self.monotonic_now_s

    def clock_s(self) -> float:
        return 1_800_000_000.0 + self.monotonic_now_s

    def pass_s(self, seconds: float) -> None:
        self.monotonic_now_s += seconds


class FakeLanes:
    """Runs jobs when it is told to, on the caller's thread, in the order of each lane; then calls back, as the loop would."""

    def __init__(self) -> None:
        self.waiting: dict[str, deque[Job[Any]]] = {"short": deque(), "build": deque()}
        self.cancelled: list[str] = []
        self._ended: deque[Job[Any]] = deque()

    def submit(self, lane: str, job: Job[Any]) -> None:
        self.waiting[lane].append(job)

    def cancel(self, job: Job[Any]) -> None:
        """Here every job waits, and ends without having run."""
        job.cancel.set()
        self.cancelled.append(job.name)
        for jobs in self.waiting.values():
            if job in jobs:
                jobs.remove(job)
                self._ended.append(job)

    def names(self) -> list[str]:
        return [job.name for jobs in self.waiting.values() for job in jobs]

    def run_next(self) -> bool:
        """Run one job; the short lane goes first. Returns whether there was one."""
        if self._ended:
            job = self._ended.popleft()
            job.failed(Reason("cancelled", f"{job.name} was cancelled", "", "rejected"))
            return True
        jobs = self.waiting["short"] or self.waiting["build"]
        if not jobs:
            return False
        job = jobs.popleft()
        try:
            result = job.run(job.cancel)
        except EdgewrightError as error:
            job.failed(error.reason)
        except Exception as error:
            job.failed(Reason("internal-error", repr(error), ""))
        else:
            job.done(result)
        return True


class FakeSource:
    """The controller's side of the transfer. `asked` counts each chunk's requests; `spoil` changes a chunk on its way."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.asked: dict[tuple[str, int], int] = {}
        self.spoil: Callable[[str, int, bytes], bytes] = lambda _digest, _index, data: data

    def add(self, data: bytes) -> Blob:
        blob, lists = describe_bytes(data)
        self.blobs[blob.digest] = data
        for content in lists:
            self.blobs[describe_bytes(content)[0].digest] = content
        return blob

    def frames(self, request: Request) -> list[bytes]:
        """The answer to one request, as frames."""
        data = self.blobs.get(request.digest)
        if data is None:
            return [encode_unknown_blob(request.digest)]
        frames = []
        for first, last in request.ranges:
            for index in range(first, last + 1):
                key = (request.digest, index)
                self.asked[key] = self.asked.get(key, 0) + 1
                chunk = self.spoil(request.digest, index, data[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES])
                frames.append(encode_chunk(request.digest, index, chunk))
        return frames


class FakeSteps:
    """The worker children: a build makes a folder with a real manifest; what fails, and how, is told beforehand."""

    def __init__(self, store: Callable[[], Store]) -> None:
        self._store = store
        self.calls: list[tuple[str, ...]] = []
        self.failures: dict[str, EdgewrightError] = {}
        self.size_bytes = 1000
        self.verdict = "accepted"

    def _step(self, *call: str) -> None:
        self.calls.append(call)
        error = self.failures.get(call[0])
        if error is not None:
            raise error

    def build(self, model: str, order: Order, work: Path, on_progress: Callable[[float, str], None], cancel: threading.Event) -> BuildOutcome:
        self._step("build", model, order.deployment)
        for artifact in (order.model, order.calibration, order.evaluation):
            for blob in walk_blobs(artifact) if artifact is not None else ():
                assert self._store().has(blob), "a build needs all of its blobs"
        on_progress(0.5, "half of it")
        if order.kind == "agent":
            python = work / "out" / "agent" / "bin" / "python"
            python.parent.mkdir(parents=True, exist_ok=True)
            python.write_bytes(order.deployment.encode())
            return BuildOutcome(Measurement(chosen=None, baseline=None, verdict=None), python.parent.parent, "wheel", ())
        folder = work / "out" / "int8"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "engine.onnx").write_bytes(order.deployment.encode() * 10)
        candidate = Candidate(
            name="int8",
            backend="null",
            path="engine.onnx",
            size_bytes=self.size_bytes,
            latency_ms=None,
            energy_mj=None,
            fidelity=Fidelity(top1_fp32=0.97, top1=0.96, agreement=0.99, sqnr_db=30.0, samples=100),
        )
        files = list_files(folder)
        write_manifest(
            folder,
            Manifest(
                model=model,
                deployment=order.deployment,
                model_version=order.version,
                engine="engine.onnx",
                card=None,
                backend="null",
                backend_version="1",
                provider="none",
                fingerprint="f",
                files=files,
            ),
            device_signer(work.parent.parent),
        )
        measurement = Measurement(chosen=candidate, baseline=None, verdict=Verdict(accepted=self.verdict == "accepted"))
        return BuildOutcome(measurement, folder if self.verdict == "accepted" else None, files["engine.onnx"].digest, ("a note",))

    def rebuild(self, ways: tuple[Way, ...], cancel: threading.Event) -> None:
        self._step("rebuild", *(way.target.digest for way in ways))
        rebuild.run(msgspec.json.encode(rebuild_request(ways, self._store())), lambda _share, _note: None)

    def probe(self, folder: Path, cancel: threading.Event) -> None:
        assert folder.is_dir(), "an engine that is probed is in its place"
        self._step("probe", folder.name)

    def command(self, model: str, verb: str, folder: Path, cancel: threading.Event) -> None:
        self._step(verb, model, folder.name)


class Device:
    """A device with a state folder, that can be started, crashed and started again. `answers` says whether the controller is there."""

    def __init__(self, state: Path, *, limits: LimitsSection | None = None, models: dict[str, ModelSection] | None = None) -> None:
        self.state = state
        self.config = AgentConfig(
            fleet="fleet",
            device="board-1",
            broker=BrokerSection(host="127.0.0.1"),
            state=state,
            socket=state / "agent.sock",
            trust=state / "trust",
            limits=limits or LimitsSection(min_free_bytes=0),
            optimize=OptimizeSection(),
            telemetry=TelemetrySection(),
            models=models or {},
            folder=state,
        )
        self.clock = FakeClock()
        self.source = FakeSource()
        self.steps = FakeSteps(lambda: self.store)
        self.answers = True
        self.hold: Reason | None = None
        self.requests: deque[Request] = deque()
        self.delivered: dict[str, Event] = {}
        self._unacknowledged: list[int] = []
        self.reports_due = 0
        self._sequence = itertools.count(1)
        self._mids = itertools.count(1)
        state.mkdir(parents=True, exist_ok=True)
        self.start()

    # --- life ---

    def start(self, *, link: bool = True, runtime: str = RUNTIME) -> None:
        """A new process on the same folder."""
        self.requests.clear()
        self.makes_way = False
        self.running_version = self.launched()
        self.lanes = FakeLanes()
        self.store = Store(self.state)
        self.outbox = Outbox(self.state, self.config.limits.outbox_events)
        file = JournalFile(self.state)
        journal = file.load(count_start(self.state))
        self.ledger = Ledger(file, journal, self.outbox, self.config.fleet, self.config.device, self.clock.clock_s)
        self.deployer = Deployer(
            Parts(
                self.config,
                self.store,
                self.ledger,
                self.lanes,
                self.steps,
                ask=self._ask,
                changed=self._changed,
                why_hold=lambda order: None if order.is_urgent else self.hold,
                make_way=self._make_way,
                running_version=self.running_version,
                clock_s=self.clock.clock_s,
                monotonic_s=self.clock.monotonic_s,
            )
        )
        self.deployer.runtime = runtime
        self.deployer.advance()
        if link:
            self.link_up()

    def launched(self) -> str:
        """The folder of the version that `agent.launch` would become; empty for the installation's own."""
        link = self.state / LINK
        return link.resolve().name if link.exists() else ""

    def _make_way(self) -> None:
        self.makes_way = True

    def crashed(self) -> None:
        """Give back what the operating system would take from a dead process."""
        self.deployer.downloads.stop(self.deployer.downloads.model)

    def link_up(self) -> None:
        self.deployer.is_link_up = True
        self._changed()
        self.deployer.advance()

    def link_down(self) -> None:
        self.deployer.is_link_up = False
        self.requests.clear()
        self.deployer.downloads.link_lost()
        self.deployer.advance()

    def _ask(self, request: Request) -> bool:
        if self.deployer.is_link_up:
            self.requests.append(request)
        return self.deployer.is_link_up

    def _changed(self) -> None:
        self.reports_due += 1
        if not hasattr(self, "deployer") or not self.deployer.is_link_up:
            return
        self.outbox.flush(self._publish)
        while self._unacknowledged:
            self.outbox.acknowledged(self._unacknowledged.pop())
            self.outbox.flush(self._publish)

    def _publish(self, payload: bytes) -> int:
        event = decode(payload, Event)
        self.delivered.setdefault(event.id, event)
        self._unacknowledged.append(next(self._mids))
        return self._unacknowledged[-1]

    # --- what happens to it ---

    def order(self, name: str = "d1", *, size: int = 3 * CHUNK_BYTES + 100, seed: int = 1, **fields: Any) -> Order:
        model = random.Random(seed).randbytes(size)
        calibration = random.Random(seed + 1000).randbytes(500)
        return Order(
            deployment=name,
            version=f"{name}.0",
            model=Artifact({"model.onnx": self.source.add(model)}),
            model_file="model.onnx",
            calibration=Artifact({"samples.npz": self.source.add(calibration)}),
            budget=fields.pop("budget", Budget(max_top1_drop=0.02)),
            probation_s=fields.pop("probation_s", 5.0),
            **fields,
        )

    def package(self, name: str, version: str = "0.2.0", **fields: Any) -> Order:
        """A version of the agent."""
        wheel = f"edgewright-{version}-py3-none-any.whl"
        model = Artifact({wheel: self.source.add(random.Random(version).randbytes(300))})
        return Order(
            deployment=name, version=version, model=model, model_file=wheel, kind="agent", probation_s=fields.pop("probation_s", 5.0), **fields
        )

    def want(self, order: Order | None = None, *, wipe: int = 0, **others: Order) -> None:
        """The goal: `order` is for the one model, `others` for other names."""
        models = others if order is None else {MODEL: order, **others}
        sequence = next(self._sequence) + self.deployer.journal.desired_sequence
        now_s = self.clock.clock_s()
        desired = Desired(fleet="fleet", device="board-1", sequence=sequence, issued_s=now_s, expires_s=now_s + 1000, models=models, wipe=wipe)
        requests.want(self.deployer, desired, f"digest-{sequence}")

    def step(self) -> bool:
        """Let one thing happen: a restart, an answer of the controller, or a job. Returns whether there was one."""
        if self.makes_way:
            self.crashed()
            for name in all_models(self.state):
                ModelSlots(self.state, name).count_start(self.config.limits.max_starts)
            self.start()
            return True
        if self.requests and self.answers:
            for frame in self.source.frames(self.requests.popleft()):
                self.deployer.downloads.frame(frame)
            return True
        return self.lanes.run_next()

    def settle(self, *, until_s: float = 60.0) -> None:
        """Let happen what can, with the time that it takes, for `until_s` at most."""
        end_s = self.clock.monotonic_now_s + until_s
        for _ in range(10_000):
            if self.step():
                continue
            times = [self.deployer.next_turn_s(), self.deployer.downloads.next_timeout_s()]
            due_s = min((time_s for time_s in times if time_s is not None), default=None)
            if due_s is None:
                return
            if due_s > end_s:
                self.clock.monotonic_now_s = end_s
                return
            self.clock.monotonic_now_s = max(due_s, self.clock.monotonic_now_s + 0.01)
            self.deployer.downloads.pump()
            self.deployer.advance()
        raise AssertionError("it never comes to rest")

    def run_to(self, state: str, name: str = MODEL) -> None:
        """Let things happen until the model's deployment is in `state`."""
        for _ in range(10_000):
            if self.state_of(name) == state:
                return
            if not self.step():
                self.clock.pass_s(1.0)
                self.deployer.downloads.pump()
                self.deployer.advance()
        raise AssertionError(f"it never is {state}: {self.state_of(name)}, {self.deployer.problems}")

    # --- what is seen ---

    def state_of(self, name: str = MODEL) -> str | None:
        record = self.deployer.journal.models.get(name)
        return record.deployment.state if record is not None and record.deployment is not None else None

    def reason_of(self, name: str = MODEL) -> str | None:
        reason = self.deployer.deployment(name).reason
        return reason.code if reason is not None else None

    def on_disk(self, name: str = MODEL) -> str | None:
        """The deployment's state in the journal's file."""
        record = JournalFile(self.state).load().models.get(name)
        return record.deployment.state if record is not None and record.deployment is not None else None

    def current(self, name: str = MODEL) -> str | None:
        """What the application runs: the folder behind the link, which must be whole."""
        link = self.state / "models" / name / "current"
        if not link.is_symlink():
            return None
        assert (link / "manifest.json").is_file(), "the link leads to an engine"
        return link.resolve().name

    def told(self, deployment: str) -> list[str]:
        """The states that the fleet has heard of, in the order of their sequence; each event once."""
        events = sorted(self.delivered.values(), key=lambda event: event.sequence)
        return [event.state for event in events if event.deployment == deployment]


def leftovers(state: Path) -> list[str]:
    """What must not lie about when nothing is under way."""
    found: Iterable[Path] = [*state.glob("work/*"), *state.glob("partial/*"), *state.rglob("*.tmp")]
    return sorted(str(path.relative_to(state)) for path in found)


def as_json(value: Any) -> Any:
    return msgspec.to_builtins(value)
