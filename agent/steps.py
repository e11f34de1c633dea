"""The blocking steps of a deployment, as they run on a lane: worker children and the owner's commands. They touch no shared state."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..core.artifact import Artifact
from ..core.errors import Rejected, Unfit, error_from_reason
from ..core.measurement import Candidate
from ..core.trust import Verified, VerifyRequest
from ..core.wire.messages import Measurement, Order, Runtime
from ..engines.manifest import read_manifest
from ..pipeline.child import Limits, run_child
from ..pipeline.request import OptimizeRequest, OptimizeResult
from .config import AgentConfig, ModelSection
from .store import Store

VERIFY_S = 60.0
PROBE_S = 120.0
CAPABILITIES_S = 300.0
ARRAY_SUFFIX = ".npz"


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

    @property
    def runtime(self) -> str:
        """The usable runtimes and versions in one line: another line means that engines have to be built again."""
        return ", ".join(f"{backend.name} {backend.version}" for backend in self.backends if backend.usable)


def _run(task: str, request: bytes, limits: Limits, cancel: threading.Event, on_progress: Callable[[float, str], None] | None = None) -> bytes:
    outcome = run_child(task, request, limits, on_progress=on_progress, cancel=cancel)
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


def build(
    config: AgentConfig, store: Store, model: str, order: Order, work: Path, on_progress: Callable[[float, str], None], cancel: threading.Event
) -> BuildOutcome:
    """Lay the artifact out, run the pipeline in a child, and say what came out. Starts from nothing: repeating it is safe.

    Raises:
        EdgewrightError: the pipeline's reason, or how its child ended.
    """
    shutil.rmtree(work, ignore_errors=True)
    out = work / "out"
    out.mkdir(parents=True)
    store.lay_out(order.model, work / "model")
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
        model_name=model,
        deployment=order.deployment,
        model_version=order.version,
    )
    limits = Limits(
        time_s=_least(order.budget.max_build_s, config.limits.max_build_s) or config.limits.max_build_s,
        memory_mb=_least(order.budget.max_build_memory_mb, config.limits.max_build_memory_mb),
        nice=config.optimize.nice,
    )
    result = msgspec.json.decode(_run("optimize", msgspec.json.encode(request), limits, cancel, on_progress), type=OptimizeResult)
    return _outcome(result)


def _outcome(result: OptimizeResult) -> BuildOutcome:
    from ..core.budget import Verdict

    verdict = Verdict(accepted=result.verdict == "accepted", checks=result.checks, reasons=result.reasons)
    measurement = Measurement(chosen=_without_path(result.chosen), baseline=_without_path(result.baseline), verdict=verdict)
    if result.chosen is None or not verdict.accepted:
        return BuildOutcome(measurement, None, "", result.notes)
    folder = Path(result.chosen.path).parent
    manifest = read_manifest(folder)
    return BuildOutcome(measurement, folder, manifest.files[manifest.engine].digest, result.notes)


def _without_path(candidate: Candidate | None) -> Candidate | None:
    """Where a build was done says nothing to others, and is gone when the report arrives: the file's name stays."""
    return None if candidate is None else msgspec.structs.replace(candidate, path=Path(candidate.path).name)


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


def _least(first: float | None, second: float | None) -> float | None:
    limits = [limit for limit in (first, second) if limit is not None]
    return min(limits) if limits else None


def probe(folder: Path, cancel: threading.Event) -> None:
    """Load the engine in a child and run it once.

    Raises:
        EdgewrightError: ``engine-unusable``, or how the child ended.
    """
    _run("probe", msgspec.json.encode({"folder": str(folder)}), Limits(PROBE_S, nice=5), cancel)


def run_command(section: ModelSection, verb: str, argv: Sequence[str], model: str, folder: Path) -> None:
    """Run one of the owner's commands of the configuration, with ``EDGEWRIGHT_MODEL`` and ``EDGEWRIGHT_ENGINE`` in its environment.

    Raises:
        Unfit: ``activate-failed`` or ``health-failed``.
        Rejected: ``command-absent`` when the program does not exist.
    """
    environment = os.environ | {"EDGEWRIGHT_MODEL": model, "EDGEWRIGHT_ENGINE": str(folder)}
    try:
        done = subprocess.run(
            list(argv), stdin=subprocess.DEVNULL, capture_output=True, timeout=section.command_timeout_s, env=environment, check=False
        )
    except OSError as error:
        message = f"the {verb} command {argv[0]!r} cannot be started: {error.strerror}"
        raise Rejected("command-absent", message, f"Correct models.{model}.{verb} in the agent's configuration") from error
    except subprocess.TimeoutExpired as error:
        raise Unfit(f"{verb}-failed", f"the {verb} command took longer than {section.command_timeout_s:g} s", "Look at the application") from error
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        tail = f": {words[-1][:200]}" if words else ""
        raise Unfit(f"{verb}-failed", f"the {verb} command ended with {done.returncode}{tail}", "Look at the application's log")
