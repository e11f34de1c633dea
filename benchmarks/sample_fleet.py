"""A fleet as it might look on a Tuesday: devices of three classes say what devices say, through the product's own recorder and conductor.

Nothing is written to the database by hand. The same numbers come every time: what is random comes from a device's name.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from edgewright.controller.conductor import Conductor
from edgewright.controller.database import Database
from edgewright.controller.inventory import Inventory, Selector
from edgewright.controller.orders import Orders
from edgewright.controller.recorder import Recorder
from edgewright.controller.rollout_plan import RolloutPlan
from edgewright.controller.rollouts import Rollouts
from edgewright.core.artifact import Artifact, describe_bytes
from edgewright.core.budget import Budget, Verdict
from edgewright.core.errors import Reason
from edgewright.core.measurement import Candidate, Conditions, Energy, Fidelity, Latency
from edgewright.core.profile import Profile, ProfileOrder, ProfileReport
from edgewright.core.trace import Trace, TracedRail, TraceWindow, pack_trace
from edgewright.core.wire.messages import (
    Capabilities,
    Event,
    Measurement,
    Message,
    ModelReport,
    Order,
    ProfilePart,
    Reply,
    Reported,
    Rival,
    Runtime,
    SlotReport,
    Status,
    Telemetry,
)
from msgspec import json

FLEET = "plant"
MODEL, OTHER_MODEL = "defect-detector", "package-counter"
PERSON = "user:maria"
BATCH = 2000


@dataclass(frozen=True, slots=True)
class Class:
    """One kind of board: FP32's latency, power at work, and the engine that it prefers, as a share of FP32's latency."""

    name: str
    board: str
    cores: int
    memory_mb: int
    fp32_ms: float
    watts: float | None
    engine: str
    backend: str
    share: float


CLASSES = (
    Class("Jetson Orin Nano 8GB / Cortex-A78AE", "Jetson Orin Nano 8GB", 6, 7620, 7.9, 6.8, "int8", "tensorrt", 0.37),
    Class("Jetson Xavier NX / Carmel", "Jetson Xavier NX", 6, 6860, 11.4, 9.1, "int8", "tensorrt", 0.41),
    Class("Raspberry Pi 5 / Cortex-A76", "Raspberry Pi 5", 4, 8060, 38.0, None, "balanced-int8", "onnxruntime", 0.46),
)
# Engines that every board measures: latency as a share of FP32's, fidelity in dB, and size.
RIVALS = (("fp32", 1.0, None, 14_200_000), ("fp16", 0.62, 58.0, 7_150_000), ("int8", 0.40, 27.5, 3_640_000), ("balanced-int8", 0.34, 21.0, 2_480_000))
BAD_BUDGET = Reason("budget", "latency p99 of 31.5 ms is above 25 ms", "Allow more, or compress with another recipe", "rejected")
NO_SPACE = Reason("disk-full", "212 MB are free, 640 MB are needed", "Free space on the device: edgewright agent diag shows what is kept", "unfit")
KILLED = Reason("build-killed", "the build was ended for its memory at 3.4 GB", "Give max_build_memory_mb, or close other programs", "unfit")


def luck(name: str, salt: str) -> float:
    """A number from 0 to 1 that is always the same for this name."""
    return int.from_bytes(hashlib.sha256(f"{salt}:{name}".encode()).digest()[:6], "big") / 2**48


def class_of(name: str) -> Class:
    chance = luck(name, "class")
    return CLASSES[0] if chance < 0.55 else CLASSES[1] if chance < 0.8 else CLASSES[2]


@dataclass
class SampleFleet:
    """Builds it up to `now_s`. `names` are its devices."""

    database: Database
    devices: int
    now_s: float
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.names = [f"cam-{number:05}" for number in range(1, self.devices + 1)]
        self.orders = Orders(self.database, FLEET)
        self.rollouts = Rollouts(self.database, self.orders)
        self.recorder = Recorder(self.database)
        self.sequence = dict.fromkeys(self.names, 0)

    def build(self, *, detailed: int = 6) -> None:
        """All of it; `detailed` of the devices that have the latest model, and a power sensor, have telemetry and a trace of power as well."""
        self._enroll()
        self._roll_out("1.4", self.now_s - 9 * 86400, is_over=True)
        self._deploy_other(self.now_s - 5 * 86400)
        self._roll_out("1.5", self.now_s - 5400, is_over=False)
        self._say((self._status(name) for name in self.names if luck(name, "seen") > 0.06), self.now_s - 4)
        for name in self._updated()[:detailed]:
            self._tell_health(name)
            self._answer_profile(name)

    def _say(self, messages: Iterator[Message], now_s: float) -> None:
        batch: list[Message] = []
        for message in messages:
            batch.append(message)
            if len(batch) == BATCH:
                self.recorder.record_all(batch, now_s)
                batch = []
        self.recorder.record_all(batch, now_s)

    def _enroll(self) -> None:
        began_s = self.now_s - 40 * 86400
        self.orders.enroll_many(self.names, began_s)
        self._say((self._capabilities(name) for name in self.names), self.now_s - 40 * 86400)
        inventory = Inventory(self.database)
        for name in self.names[:400]:
            labels = {"site": f"hall-{1 + int(4 * luck(name, 'site'))}", "line": str(1 + int(9 * luck(name, "line")))}
            inventory.set_labels(name, dict(labels), PERSON, began_s)

    def _status(self, name: str) -> Status:
        return Status(fleet=FLEET, device=name, online=True, boot_id=f"boot-{name}", session=1, agent_version="0.1.0")

    def _capabilities(self, name: str) -> Capabilities:
        kind = class_of(name)
        backends = (
            Runtime(name="onnxruntime", usable=True, version="1.20.1"),
            Runtime(
                name="tensorrt", usable=kind.watts is not None, version="10.3" if kind.watts else "", reason=None if kind.watts else "no NVIDIA GPU"
            ),
        )
        return Capabilities(
            fleet=FLEET,
            device=name,
            board=kind.board,
            machine="aarch64",
            agent_version="0.1.0",
            memory_mb=kind.memory_mb,
            cores=kind.cores,
            backends=backends,
            hardware_class=kind.name,
            free_disk_mb=9400,
        )

    # --- rollouts ---

    def _order(self, model: str, version: str) -> Order:
        blob, _ = describe_bytes(f"{model} {version}".encode() * 40_000)
        budget = Budget(max_latency_p99_ms=25.0, min_sqnr_db=18.0, max_top1_drop=0.015)
        deployment = f"2026-{version.replace('.', '-')}-{model}"
        return Order(deployment=deployment, version=version, model=Artifact({"model.onnx": blob}), model_file="model.onnx", budget=budget)

    def _roll_out(self, version: str, began_s: float, *, is_over: bool) -> None:
        """The conductor opens the waves; each released device says at once what came of it."""
        order = self._order(MODEL, version)
        plan = RolloutPlan(
            canary=7,
            shares=(0.1, 0.3, 1.0),
            max_failed_share=0.2,
            min_succeeded_share=0.8,
            on_unproven="promote",
            approval="none" if is_over else "start",
        )
        rollout = self.rollouts.start(MODEL, order, Selector(), plan, PERSON, began_s)
        conductor, said, now_s = Conductor(self.database, self.orders), set[str](), began_s
        for _ in range(400):
            now_s += 300 if is_over else 60
            view = self.rollouts.view(rollout, now_s)
            if view.state == "WAITING":
                self.rollouts.approve(rollout, "token:line-lead", now_s)
            elif view.state == "PAUSED":  # who goes first is chance, and so is how many of them refuse
                self.rollouts.resume(rollout, PERSON, now_s)
            conductor.turn(now_s)
            view = self.rollouts.view(rollout, now_s)
            fresh = [one.device for one in self._released(rollout) if one.device not in said]
            said.update(fresh)
            limit = len(fresh) if is_over or view.wave < 2 else int(0.6 * len(fresh))
            self._say((message for name in fresh[:limit] for message in self._outcome(name, order, now_s)), now_s)
            self._say((self._event(name, order, "OPTIMIZING", now_s) for name in fresh[limit:]), now_s)
            if view.is_over or (not is_over and view.wave >= 2 and fresh):
                return

    def _released(self, rollout: str) -> list:
        found, after = [], ""
        while page := self.rollouts.members(rollout, after_device=after, limit=5000):
            found += [member for member in page if member.released_s is not None]
            after = page[-1].device
        return found

    def _updated(self) -> list[str]:
        latest = self.rollouts.all(self.now_s, limit=1)[0].rollout
        found = [member.device for member in self.rollouts.members(latest, states=("SUCCEEDED",))]
        return [name for name in found if class_of(name).watts is not None]

    def _deploy_other(self, when_s: float) -> None:
        names = [name for name in self.names if luck(name, "other") < 0.25]
        order = self._order(OTHER_MODEL, "3.0")
        if names:
            self.orders.deploy(OTHER_MODEL, order, names, when_s, PERSON)
            self._say((message for name in names for message in self._outcome(name, order, when_s, OTHER_MODEL)), when_s)

    def _outcome(self, name: str, order: Order, now_s: float, model: str = MODEL) -> Iterator[Message]:
        chance = luck(name, order.deployment)
        measurement = self._measurement(name, order, refused=chance < 0.02)
        if chance < 0.02:
            yield self._event(name, order, "REJECTED", now_s, reason=BAD_BUDGET, measurement=measurement, model=model)
        elif chance < 0.03:
            yield self._event(name, order, "FAILED", now_s, reason=NO_SPACE if chance < 0.025 else KILLED, model=model)
        else:
            yield self._event(name, order, "MEASURED", now_s, measurement=measurement, model=model)
            yield self._event(name, order, "SUCCEEDED", now_s + 60, measurement=measurement, model=model)
            yield self._reported(name, order, now_s, measurement, model)

    def _event(self, name: str, order: Order, state: str, now_s: float, *, model: str = MODEL, **more: object) -> Event:
        self.sequence[name] += 1
        number = self.sequence[name]
        fields = {"fleet": FLEET, "device": name, "id": f"{name}-{number}", "sequence": number, "deployment": order.deployment, "model": model}
        return Event(**fields, attempt=1, state=state, time_s=now_s, **more)  # type: ignore[arg-type]

    def _reported(self, name: str, order: Order, now_s: float, measurement: Measurement, model: str) -> Reported:
        kind = class_of(name)
        slot = SlotReport(deployment=order.deployment, version=order.version, backend=kind.backend, engine_digest="0" * 64, since_s=now_s, starts=1)
        before = SlotReport(deployment="before", version="1.4", backend=kind.backend, engine_digest="1" * 64, since_s=now_s - 9e5, starts=3)
        report = ModelReport(
            active=slot, previous=before if order.version == "1.5" else None, trial=None, deployment=order.deployment, state="SUCCEEDED", attempt=1
        )
        return Reported(fleet=FLEET, device=name, session=1, desired_sequence=1, time_s=now_s, models={model: report})

    def _measurement(self, name: str, order: Order, *, refused: bool) -> Measurement:
        kind, spread = class_of(name), 0.94 + 0.14 * luck(name, f"speed {order.version}")
        better = 0.96 if order.version == "1.5" else 1.0
        rivals = tuple(
            Rival(
                name=engine,
                backend=kind.backend,
                size_bytes=size,
                latency_p50_ms=kind.fp32_ms * spread * (share if engine in {"fp32", kind.engine} else share * 1.12) * better,
                sqnr_db=None if noise is None else noise + 2 * luck(name, engine),
                agreement=None if noise is None else 1 - 0.12 * 10 ** (-noise / 20),
            )
            for engine, share, noise, size in RIVALS
        )
        p50_ms = 26.0 if refused else kind.fp32_ms * kind.share * spread * better
        chosen = self._candidate(kind, kind.engine, p50_ms, name)
        verdict = Verdict(accepted=not refused, reasons=(BAD_BUDGET,) if refused else ())
        return Measurement(chosen=chosen, baseline=self._candidate(kind, "fp32", kind.fp32_ms * spread, name), verdict=verdict, rivals=rivals)

    def _candidate(self, kind: Class, engine: str, p50_ms: float, name: str) -> Candidate:
        energy_mj = None if kind.watts is None else p50_ms * kind.watts * (0.93 if engine != "fp32" else 1.0)
        energy = None if energy_mj is None else Energy(mean=energy_mj, ci95=(0.97 * energy_mj, 1.03 * energy_mj), source="ina3221", scope="module")
        noise = 22.0 + 4 * luck(name, "noise")
        fidelity = None if engine == "fp32" else Fidelity(top1_fp32=0.914, top1=0.909, agreement=0.985, sqnr_db=noise, samples=512)
        latency = Latency(mean=p50_ms * 1.01, p50=p50_ms, p90=p50_ms * 1.08, p99=p50_ms * 1.21, samples=900)
        size = next(size for rival, _, _, size in RIVALS if rival == engine)
        return Candidate(name=engine, backend=kind.backend, path="e", size_bytes=size, latency_ms=latency, energy_mj=energy, fidelity=fidelity)

    # --- what a device says of itself ---

    def _tell_health(self, name: str, count: int = 480, every_s: float = 60.0) -> None:
        watts = class_of(name).watts
        phase = 6.28 * luck(name, "phase")

        def words(number: int) -> Telemetry:
            time_s = self.now_s - (count - number) * every_s
            load = 0.5 + 0.35 * math.sin(number / 38 + phase) + 0.12 * luck(f"{name}{number}", "noise")
            power = None if watts is None or 200 < number < 214 else 1000 * (0.4 * watts + 0.6 * watts * load)
            return Telemetry(
                fleet=FLEET,
                device=name,
                time_s=time_s,
                uptime_s=9e5 + number * every_s,
                cpu_percent=100 * load * 0.6,
                temperature_c=41 + 14 * load,
                disk_free_mb=9400.0,
                power_mw=power,
                power_reason=None if watts is not None else "this board has no power sensor",
            )

        self._say((words(number) for number in range(count)), self.now_s - 5)

    def _answer_profile(self, name: str) -> None:
        kind = class_of(name)
        command = self.orders.ask_profile(name, ProfileOrder(model=MODEL, seconds=8.0), self.now_s - 2600, PERSON)
        report = ProfileReport(command=command, deployment=None, profile=self._profile(kind))
        data = json.encode(report)
        part = ProfilePart(fleet=FLEET, device=name, command=command, part=0, parts=1, data=data)
        self.recorder.record(part, self.now_s - 3)
        self.recorder.record(Reply(fleet=FLEET, device=name, id=command, sequence=1, ok=True), self.now_s - 3)

    def _profile(self, kind: Class) -> Profile:
        p50_ms, watts = kind.fp32_ms * kind.share, kind.watts
        latency = Latency(mean=p50_ms * 1.02, p50=p50_ms, p90=p50_ms * 1.1, p99=p50_ms * 1.24, samples=2000)
        if watts is None:
            reason = "this board has no power sensor"
            return Profile(
                order=ProfileOrder(model=MODEL), latency_ms=latency, histogram=None, energy_mj=None, energy_reason=reason, conditions=Conditions()
            )
        energy = Energy(mean=p50_ms * watts, ci95=(0.98 * p50_ms * watts, 1.02 * p50_ms * watts), source="ina3221", scope="module")
        trace = pack_trace(_trace(watts))
        return Profile(
            order=ProfileOrder(model=MODEL),
            latency_ms=latency,
            histogram=None,
            energy_mj=energy,
            energy_reason=None,
            conditions=Conditions(),
            power_mw=1000 * watts,
            scope="module",
            trace=trace,
        )


def _trace(watts: float) -> Trace:
    """Eight seconds: idle, at work, idle, with the slow rise of the filter that such sensors have."""
    shares = {"VDD_IN": 1.0, "VDD_CPU_GPU_CV": 0.55, "VDD_SOC": 0.25}
    times = tuple(range(0, 8_000_000, 20_000))
    columns: list[Sequence[int]] = []
    for number, share in enumerate(shares.values()):
        level, values = 0.42 * watts * share, []
        for moment in times:
            goal = watts * share if 1_500_000 < moment < 6_500_000 else 0.42 * watts * share
            level += (goal - level) * 0.045
            values.append(int(1000 * level * (1 + 0.02 * math.sin(moment / 9e4 + number))))
        columns.append(values)
    rails = tuple(TracedRail(label=name, key=name, sensor="ina3221") for name in shares)
    window = TraceWindow(name="inference", start_us=1_500_000, end_us=6_500_000, inferences=1600)
    return Trace(rails=rails, times_us=times, values_mw=tuple(tuple(column) for column in columns), windows=(window,))
