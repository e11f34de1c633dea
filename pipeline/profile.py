"""Profiles a model under a scenario, or the machine as it is: latency, energy, conditions and the power over time, all of one run."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from ..core.measurement import Conditions
from ..core.profile import Profile, ProfileOrder, RailPower
from ..core.trace import TraceWindow, pack_trace
from ..engines.discovery import load_backend
from ..engines.feeds import cast_feeds
from ..engines.provenance import trusted_keys
from ..profiling.conditions import Workload, conditions_between, take_snapshot
from ..profiling.energy import Window
from ..profiling.energy_run import EnergyResult, measure_work
from ..profiling.reading import read_power
from ..profiling.record import trace_of
from ..profiling.recording import Recording
from ..profiling.scenarios import Call, Load, Outcome, run_scenario
from ..profiling.survey import survey_power
from .child import Progress
from .measure import open_engine
from .request import ProfileRequest
from .target import Target, open_target

MAX_TRACE_MOMENTS = 20_000


def profile(request: ProfileRequest, progress: Progress) -> Profile:
    """Carry out one order.

    Raises:
        EdgewrightError: the model cannot be opened, or run.
    """
    root = Path(request.root)
    if request.path is None:
        progress(0.0, "reading the power of what runs")
        return _of_machine(request.order, root)
    progress(0.0, "opening the engine")
    trusted = None if request.state is None else trusted_keys(Path(request.state))
    target = open_target(Path(request.path), backend=request.backend, threads=request.threads, batch=request.batch, trusted=trusted)
    progress(0.1, "measuring")
    return profile_target(target, request.order, root, request.idle_s)


def profile_target(target: Target, order: ProfileOrder, root: Path = Path("/"), idle_s: float | None = None) -> Profile:
    """Profile an engine that was opened for its inputs."""
    entry = target.engine
    with open_engine(entry) as runner:
        inputs = cast_feeds(target.feeds, runner.inputs)
        version = load_backend(entry.backend).capabilities().version
        workload = Workload(entry.options.threads, target.batch, entry.backend, version, runner.provider)
        return profile_call(lambda: runner.infer(inputs), order, workload, root, idle_s)


def profile_call(call: Call, order: ProfileOrder, workload: Workload, root: Path = Path("/"), idle_s: float | None = None) -> Profile:
    """Latency and energy from the same run; without a sensor the scenario runs all the same, for its latency."""
    load = Load(order.scenario, order.seconds, order.streams, order.rate_per_s)
    outcomes: list[Outcome] = []

    def work(seconds: float) -> Window:
        found = run_scenario(call, dataclasses.replace(load, seconds=seconds, warmup_s=0.0))
        outcomes.append(found)
        return Window(found.started_ns / 1e9, found.ended_ns / 1e9, found.calls)

    before = take_snapshot(root)
    energy = measure_work(work, seconds=order.seconds, root=root, idle_s=idle_s, workload=workload)
    # Warm-up, window, tail: the second is what counts.
    outcome = outcomes[1] if outcomes else run_scenario(call, load)
    conditions = energy.conditions or conditions_between(before, take_snapshot(root), workload)
    return _profile(order, outcome, energy, conditions)


def _profile(order: ProfileOrder, outcome: Outcome, energy: EnergyResult, conditions: Conditions) -> Profile:
    recording = energy.recording
    return Profile(
        order=order,
        latency_ms=outcome.latency,
        histogram=outcome.histogram,
        energy_mj=energy.energy,
        energy_reason=energy.reason,
        conditions=conditions,
        power_mw=None if energy.energy is None else energy.energy.power_mw,
        scope=None if energy.energy is None else energy.energy.scope,
        throughput_per_s=outcome.throughput_per_s,
        late=outcome.late,
        trace=None if recording is None else _packed(recording, energy.windows),
    )


def _of_machine(order: ProfileOrder, root: Path) -> Profile:
    """Whatever runs now: no load of ours, no energy per call."""
    survey = survey_power(root)
    kept: list[Recording] = []
    before, started_s = take_snapshot(root), time.monotonic()
    reading = read_power(survey, order.seconds, on_rows=lambda recording: kept.append(recording) if not kept else None)
    ended_s = time.monotonic()
    conditions = conditions_between(before, take_snapshot(root), Workload())
    return Profile(
        order=order,
        latency_ms=None,
        histogram=None,
        energy_mj=None,
        energy_reason=reading.total_reason or "no model was named: the power of what runs was read",
        conditions=conditions,
        rails=tuple(RailPower(label=entry.rail.label, sensor=entry.rail.sensor, mean_mw=entry.mean_mw) for entry in reading.rails),
        power_mw=None if reading.total is None else reading.total.mean_mw,
        scope=None if reading.total is None else reading.total.scope,
        trace=_packed(kept[0], (("what ran", Window(started_s, ended_s)),)) if kept else None,
    )


def _packed(recording: Recording, windows: tuple[tuple[str, Window], ...]) -> bytes:
    begin_s = recording.times_s[0] if len(recording) else 0.0
    marks = tuple(
        TraceWindow(
            name=name,
            start_us=round((window.start_s - begin_s) * 1e6),
            end_us=round((window.end_s - begin_s) * 1e6),
            inferences=window.inferences or None,
        )
        for name, window in windows
    )
    return pack_trace(trace_of(recording, marks, limit=MAX_TRACE_MOMENTS))
