"""The blocking steps of the daemon, as they run on a lane: worker children and the owner's commands. They touch no shared state."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from ..core.artifact import Artifact
from ..core.budget import Budget, Verdict
from ..core.errors import error_from_reason
from ..core.files import disk_errors
from ..core.measurement import Candidate
from ..core.trust import Verified, VerifyRequest
from ..core.wire.messages import AGENT_MODEL, MAX_RIVALS, Measurement, Order, Rival, Runtime
from ..engines.manifest import read_manifest
from ..pipeline.attempts import run_optimize
from ..pipeline.child import Limits, Outcome, run_child
from ..pipeline.request import InstallRequest, OptimizeRequest, OptimizeResult, ProfileRequest
from .commands import run_command
from .config import AgentConfig
from .shortcuts import Way, rebuild_request
from .store import Store

VERIFY_S = 60.0
PROBE_S = 120.0
REBUILD_S = 600.0
INSTALL_S = 900.0
# Of the time that a build may take; INT8 and the measuring need the rest.
SEARCH_SHARE = 0.6
CAPABILITIES_S = 300.0
# Beside the order's own time: warm-up, idle before and after, and loading the engine.
PROFILE_FACTOR = 3.0
PROFILE_MARGIN_S = 180.0
ARRAY_SUFFIX = ".npz"

CommandVerb = Literal["activate", "health"]


@dataclass(frozen=True, slots=True)
class BuildOutcome:
    """What a build came to: the measurement, and the chosen engine's folder, None when the budget refuses."""

    measurement: Measurement
    folder: Path | None
    engine_digest: str
    notes: tuple[str, ...]


class DeviceFacts(msgspec.Struct, frozen=True):
    """The task ``capabilities``' answer."""

    board: str
    processor: str
    backends: tuple[Runtime, ...]
    sensors: tuple[Runtime, ...]
    driver: str = ""

    @property
    def runtime(self) -> str:
        """The usable runtimes, their versions and the driver in one line: another line means that engines have to be built again."""
        usable = ", ".join(f"{backend.name} {backend.version}" for backend in self.backends if backend.usable)
        return f"{usable} on {self.driver}" if self.driver else usable


def _run(task: str, request: bytes, limits: Limits, cancel: threading.Event) -> bytes:
    return _result_of(run_child(task, request, limits, cancel=cancel))


def _result_of(outcome: Outcome) -> bytes:
    if outcome.result is None:
        assert outcome.reason is not None
        raise error_from_reason(outcome.reason)
    return outcome.result


def verify(request: VerifyRequest, cancel: threading.Event) -> Verified:
    """Hold an envelope against the trust anchor.

    Raises:
        EdgewrightError: what `verify_envelope` raises, or how the child ended.
    """
    return msgspec.json.decode(_run("verify", msgspec.json.encode(request), Limits(VERIFY_S, nice=0), cancel), type=Verified)


def look_at_device(cancel: threading.Event) -> DeviceFacts:
    """What this device has."""
    return msgspec.json.decode(_run("capabilities", b"{}", Limits(CAPABILITIES_S, nice=5), cancel), type=DeviceFacts)


def profile(request: ProfileRequest, cancel: threading.Event) -> bytes:
    """The profile that was ordered, as JSON.

    Raises:
        EdgewrightError: what the task raises, or how its child ended.
    """
    limits = Limits(time_s=PROFILE_FACTOR * request.order.seconds + PROFILE_MARGIN_S, nice=0)
    return _run("profile", msgspec.json.encode(request), limits, cancel)


class Steps(Protocol):
    """What a deployment needs done outside the loop. Each blocks, may be repeated, and ends early when `cancel` is set.

    Raises:
        EdgewrightError: each says why it failed; ``cancelled`` when `cancel` was set.
    """

    def build(self, model: str, order: Order, work: Path, on_progress: Callable[[float, str], None], cancel: threading.Event) -> BuildOutcome:
        """Make and measure engines of what is in the store, below `work`."""

    def rebuild(self, ways: tuple[Way, ...], cancel: threading.Event) -> None:
        """Fill the targets of `ways` in the store as far as they lead."""

    def probe(self, folder: Path, cancel: threading.Event) -> None:
        """Load the engine in `folder` and run it once."""

    def command(self, model: str, verb: CommandVerb, folder: Path, cancel: threading.Event) -> None:
        """Run the owner's command, where there is one."""


class WorkerSteps:
    """The real steps: worker children and the owner's commands."""

    def __init__(self, config: AgentConfig, store: Store) -> None:
        self._config = config
        self._store = store

    def build(self, model: str, order: Order, work: Path, on_progress: Callable[[float, str], None], cancel: threading.Event) -> BuildOutcome:
        """Starts from nothing. A build that fails leaves nothing: the space may be what is needed to write down why."""
        shutil.rmtree(work, ignore_errors=True)
        try:
            if order.kind == "agent":
                return self._install(order, work, on_progress, cancel)
            return self._build(model, order, work, on_progress, cancel)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise

    def _build(self, model: str, order: Order, work: Path, on_progress: Callable[[float, str], None], cancel: threading.Event) -> BuildOutcome:
        config, store, out = self._config, self._store, work / "out"
        with disk_errors(out):
            out.mkdir(parents=True)
        # onnx reads no external data from a file with a second hard link.
        external = [name for name in order.model.files if name != order.model_file and not name.endswith(".toml")]
        store.lay_out(order.model, work / "model", copies=external)
        request = OptimizeRequest(
            model=str(work / "model" / order.model_file),
            calibration=_dataset(store, order.calibration, work / "calibration"),
            evaluation=_dataset(store, order.evaluation, work / "evaluation"),
            out=str(out),
            recipe=order.recipe,
            budget=order.budget,
            backend=config.optimize.backend,
            threads=config.optimize.threads,
            bench_seconds=config.optimize.bench_seconds,
            search_s=min(config.optimize.search_s, SEARCH_SHARE * config.limits.max_build_s),
            model_name=model,
            identity=str(config.state),
            cache=str(config.state / "cache"),
            anchor=str(config.trust) if config.optimize.accept_signed_engines else None,
            compatibility=config.optimize.compatibility,
            deployment=order.deployment,
            model_version=order.version,
        )
        outcome = run_optimize(request, build_limits(config, order.budget), on_progress=on_progress, cancel=cancel)
        return _outcome(msgspec.json.decode(_result_of(outcome), type=OptimizeResult))

    def _install(self, order: Order, work: Path, on_progress: Callable[[float, str], None], cancel: threading.Event) -> BuildOutcome:
        config, wheels, folder = self._config, work / "wheels", work / "out" / "agent"
        with disk_errors(work):
            folder.parent.mkdir(parents=True)
        self._store.lay_out(order.model, wheels)
        request = InstallRequest(wheels=str(wheels), out=str(folder), config=str(config.file), version=order.version)
        limits = Limits(INSTALL_S, nice=config.optimize.nice)
        _result_of(run_child("install", msgspec.json.encode(request), limits, on_progress=on_progress, cancel=cancel))
        nothing = Measurement(chosen=None, baseline=None, verdict=None)
        return BuildOutcome(nothing, folder, order.model.files[order.model_file].digest, ())

    def rebuild(self, ways: tuple[Way, ...], cancel: threading.Event) -> None:
        limits = Limits(REBUILD_S, self._config.limits.max_build_memory_mb, nice=self._config.optimize.nice)
        _run("rebuild", msgspec.json.encode(rebuild_request(ways, self._store)), limits, cancel)

    def probe(self, folder: Path, cancel: threading.Event) -> None:
        if folder.parent.parent.name == AGENT_MODEL:
            return  # it was started when it was installed; from here on the start counter and its probation watch it
        _run("probe", msgspec.json.encode({"folder": str(folder), "state": str(self._config.state)}), Limits(PROBE_S, nice=5), cancel)

    def command(self, model: str, verb: CommandVerb, folder: Path, cancel: threading.Event) -> None:
        section = self._config.model(model)
        argv = section.activate if verb == "activate" else section.health
        if argv:
            run_command(argv, verb, model, folder, section.command_timeout_s, cancel)


def _outcome(result: OptimizeResult) -> BuildOutcome:
    verdict = Verdict(accepted=result.verdict == "accepted", checks=result.checks, reasons=result.reasons)
    measurement = Measurement(
        chosen=_without_path(result.chosen),
        baseline=_without_path(result.baseline),
        verdict=verdict,
        rivals=tuple(_rival(candidate) for candidate in result.candidates[:MAX_RIVALS]),
    )
    if result.chosen is None or not verdict.accepted:
        return BuildOutcome(measurement, None, "", result.notes)
    folder = Path(result.chosen.path).parent
    manifest = read_manifest(folder)
    return BuildOutcome(measurement, folder, manifest.files[manifest.engine].digest, result.notes)


def _without_path(candidate: Candidate | None) -> Candidate | None:
    """Where a build was done says nothing to others, and is gone when the report arrives: the file's name stays."""
    return None if candidate is None else msgspec.structs.replace(candidate, path=Path(candidate.path).name)


def _rival(candidate: Candidate) -> Rival:
    latency, energy, fidelity = candidate.latency_ms, candidate.energy_mj, candidate.fidelity
    return Rival(
        name=candidate.name,
        backend=candidate.backend,
        size_bytes=candidate.size_bytes,
        latency_p50_ms=latency.p50 if latency else None,
        latency_p99_ms=latency.p99 if latency else None,
        energy_mj=energy.mean if energy else None,
        top1=fidelity.top1 if fidelity else None,
        agreement=fidelity.agreement if fidelity else None,
        sqnr_db=fidelity.sqnr_db if fidelity else None,
    )


def _dataset(store: Store, artifact: Artifact | None, folder: Path) -> str | None:
    """Lay a dataset out as the reader expects it: one .npz as a file, arrays in the folder, pictures in ``images``."""
    if artifact is None:
        return None
    names = list(artifact.files)
    pictures = {name: blob for name, blob in artifact.files.items() if name.endswith((".jpg", ".jpeg", ".png"))}
    store.lay_out(Artifact({name: blob for name, blob in artifact.files.items() if name not in pictures}), folder)
    if pictures:
        store.lay_out(Artifact(pictures), folder / "images")
    return str(folder / names[0]) if len(names) == 1 and names[0].endswith(ARRAY_SUFFIX) else str(folder)


def build_limits(config: AgentConfig, budget: Budget) -> Limits:
    """What a build may take: the tighter of the order's budget and of this device's configuration."""
    times_s = [limit for limit in (budget.max_build_s, config.limits.max_build_s) if limit is not None]
    memories_mb = [limit for limit in (budget.max_build_memory_mb, config.limits.max_build_memory_mb) if limit is not None]
    reserve_mb = config.limits.min_available_memory_mb or None
    return Limits(time_s=min(times_s), memory_mb=min(memories_mb, default=None), reserve_mb=reserve_mb, nice=config.optimize.nice)
