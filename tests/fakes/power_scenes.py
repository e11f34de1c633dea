"""Scenes for measuring an energy estimator: a random load on a simulated board, seen through its sensor by the product's own sampler.

`record` is one run; the truth beside it is the waveform's exact integral. The naive integrators that other tools use are here too.
"""

from __future__ import annotations

import importlib.util
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from edgewright.profiling.recording import Recording
from edgewright.profiling.sampler import Sampler
from edgewright.profiling.sensor import Rail
from edgewright.profiling.sensors.ina3221 import ina3221_traits


def _load(name: str) -> ModuleType:
    full_name = f"edgewright_fakes_{name}"
    if full_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(full_name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full_name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[full_name]


sim = _load("ina3221_chip")
IDLE_S = 4.2
TAIL_S = 0.6


@dataclass(frozen=True, slots=True)
class BoardCase:
    """One rail of one board."""

    name: str
    shunt_ohm: float
    volts: float
    idle_mw: float
    active_mw: float


ORIN_NANO = BoardCase("Orin Nano", 0.005, 5.0, 5000, 12000)
AGX_RAIL = BoardCase("AGX rail", 0.002, 19.0, 6000, 20000)


@dataclass(frozen=True, slots=True)
class Scene:
    """A load from `start_s` to `end_s`, and what the sampler made of it."""

    wave: Any
    start_s: float
    end_s: float
    recording: Recording
    regular: list[tuple[float, float]]
    reader: Any

    @property
    def truth_mj(self) -> float:
        return self.wave.between(self.start_s, self.end_s)


def random_load(case: BoardCase, start_s: float, end_s: float, chance: np.random.Generator) -> Any:
    """Idle, then a load of a random kind in the window, then idle."""
    idle, top = case.idle_mw * chance.uniform(0.8, 1.2), case.active_mw * chance.uniform(0.7, 1.2)
    starts, powers, slopes = [0.0], [idle], [0.0]
    kind = chance.choice(["pulses", "telegraph", "constant", "ramp", "steps"])
    if kind == "pulses":
        period, duty = chance.uniform(0.005, 0.06), chance.uniform(0.2, 0.9)
        burst = idle + (top - idle) / duty
        now = start_s - chance.uniform(0, period)
        while now < end_s:
            if now + duty * period > start_s:
                starts += [max(now, start_s), min(now + duty * period, end_s)]
                powers += [burst, idle]
            now += period
    elif kind in {"telegraph", "steps"}:
        now, low = start_s, idle + 0.3 * (top - idle)
        while now < end_s:
            starts.append(now)
            powers.append(top if len(starts) % 2 == 0 else low)
            now += chance.exponential(0.05 if kind == "telegraph" else 0.7)
    else:
        starts.append(start_s)
        powers.append(top if kind == "constant" else idle + 0.3 * (top - idle))
        slopes.append(0.0)
        if kind == "ramp":
            slopes[-1] = 0.7 * (top - idle) / (end_s - start_s)
    starts.append(end_s)
    powers.append(idle)
    slopes += [0.0] * (len(starts) - len(slopes))
    order = np.argsort(starts, kind="stable")
    return sim.Waveform(np.array(starts)[order], np.array(powers)[order], np.array(slopes)[order], ripple_mw=0.01 * top)


def record(
    wave: Any,
    case: BoardCase,
    start_s: float,
    end_s: float,
    chip: Any,
    chance: np.random.Generator,
    *,
    period_s: float = 0.1,
    with_edges: bool = True,
    interval_ms: float | None = 430.0,
) -> Scene:
    """Sample the wave through the chip from two seconds before the window to after it."""
    registers = sim.convert(chip, 0, case.volts, wave, max(0.0, start_s - IDLE_S), end_s + TAIL_S, chance)
    filter_s = 0.0 if chip.samples == 1 or interval_ms is None else -interval_ms / 1000 / chip.samples / np.log1p(-1 / chip.samples)
    rail = Rail("sim", "VDD", "ina3221", ina3221_traits(case.volts * 1000, chip.shunt_ohm * 1e6, filter_s))
    clock = sim.Clock(max(0.0, start_s - 2.0))
    reader = sim.ChipReader((rail,), [registers], clock)
    sampler = Sampler(reader, period_s=period_s, clock_s=clock, chance=random.Random(int(chance.integers(1 << 30))))
    edges = [start_s, end_s] if with_edges else []
    while clock.now_s < end_s + TAIL_S - 0.2:
        if edges and edges[0] <= sampler.due_s:
            clock.now_s = max(clock.now_s, edges.pop(0))
            sampler.sample()
            continue
        clock.now_s = max(clock.now_s, sampler.due_s)
        sampler.sample_when_due()
    grid = np.arange(start_s - 1, end_s + 0.3, period_s) + chance.uniform(0, period_s)
    regular = []
    for time_s in grid:
        millivolts, milliamps = registers.at(float(time_s))
        regular.append((float(time_s), millivolts * milliamps / 1000))
    return Scene(wave, start_s, end_s, sampler.recording, regular, reader)


def right_rectangle(scene: Scene) -> float:
    """The newest power times the time since the one before: what energy monitors that poll do."""
    total = 0.0
    for (before_s, _), (after_s, power_mw) in zip(scene.regular, scene.regular[1:], strict=False):
        total += power_mw * max(0.0, min(after_s, scene.end_s) - max(before_s, scene.start_s))
    return total


def plain_trapezoid(scene: Scene) -> float:
    """The trapezoid over a regular grid, without the filter's correction."""
    times, powers = zip(*scene.regular, strict=True)
    inner = [time_s for time_s in times if scene.start_s < time_s < scene.end_s]
    grid = np.array([scene.start_s, *inner, scene.end_s])
    shown = np.interp(grid, times, powers)
    return float(np.sum((shown[1:] + shown[:-1]) / 2 * np.diff(grid)))


@dataclass(frozen=True, slots=True)
class SteadyRun:
    """A steady load of repeated inferences whose energies vary, and the power that it has in the long run."""

    wave: Any
    start_s: float
    end_s: float
    inferences: int
    mean_mw: float


def repeated_inferences(case: BoardCase, start_s: float, seconds: float, chance: np.random.Generator, *, spread: float = 0.15) -> SteadyRun:
    """A load that began three seconds before the window and goes on after it. The window's edges are ends of inferences."""
    period, duty = chance.uniform(0.012, 0.05), chance.uniform(0.3, 0.9)
    idle = case.idle_mw * chance.uniform(0.8, 1.2)
    burst = idle + (case.active_mw * chance.uniform(0.7, 1.2) - idle) / duty
    count = round(seconds / period)
    before, after = round(3.0 / period), round(1.0 / period)
    begin = start_s - before * period
    begins = begin + period * np.arange(before + count + after)
    bursts = idle + (burst - idle) * np.maximum(0.05, chance.normal(1.0, spread, len(begins)))
    starts = np.empty(2 * len(begins) + 1)
    powers = np.empty_like(starts)
    starts[0], powers[0] = 0.0, idle
    # The burst ends with the inference: the window's edge is where a call returns.
    starts[1::2], powers[1::2] = begins + (1 - duty) * period, bursts
    starts[2::2], powers[2::2] = begins + period, idle
    wave = sim.Waveform(starts, powers, np.zeros_like(starts))
    return SteadyRun(wave, start_s, start_s + count * period, count, idle + (burst - idle) * duty)


def soldered_chip(case: BoardCase, chance: np.random.Generator, **settings: Any) -> Any:
    """A chip as the data sheet allows it: errors drawn at random, never beyond their largest."""

    def error(typical: float, largest: float) -> float:
        while abs(value := float(chance.normal(0, typical))) > largest:
            pass
        return value

    return sim.Chip(
        case.shunt_ohm,
        offsets_uv=(error(40, 80), error(40, 80), error(40, 80)),
        shunt_gain=error(0.001, 0.0025),
        bus_gain=error(0.001, 0.0025),
        shunt_error=tuple(float(value) for value in chance.uniform(-0.01, 0.01, 3)),
        stretch=abs(error(0.03, 0.1)),
        phase_s=float(chance.uniform(0, 8e-4)),
        **settings,
    )


def aliasing_load(period_s: float, start_s: float, end_s: float, phase: float) -> Any:
    """5 W idle and 19 W for 40 % of each period, from one second before the window on."""
    begins = np.arange(start_s - 1 - period_s, end_s + 1, period_s) + phase * period_s
    starts, powers = np.empty(2 * len(begins) + 1), np.empty(2 * len(begins) + 1)
    starts[0], powers[0] = 0.0, 5000
    starts[1::2], powers[1::2] = begins, 19000
    starts[2::2], powers[2::2] = begins + 0.4 * period_s, 5000
    return sim.Waveform(starts, powers, np.zeros_like(starts))
