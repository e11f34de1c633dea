"""The experiments behind `profiling.py`: each returns rows of a figure, its limit, and what plain integrators make of the same readings.

They drive the product's own sampler, estimator, survey and self-test; the sensor and the boards are the simulated ones of ``tests/fakes``.
"""

from __future__ import annotations

import importlib.util
import os
import random
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
from edgewright.profiling.energy import Window, block_means, window_energy
from edgewright.profiling.reading import read_power
from edgewright.profiling.sampler import Sampler
from edgewright.profiling.selftest import AFTER_S, IDLE_S, LOAD_S, PERIOD_S, judge_step
from edgewright.profiling.sensor import Rail
from edgewright.profiling.sensors.ina3221 import ina3221_traits
from edgewright.profiling.survey import open_rails, survey_power
from edgewright.profiling.uncertainty import RailShare, block_count, mean_power
from procfs import peak_rss_mb

FAKES = Path(__file__).resolve().parents[1] / "tests" / "fakes"
FILTER_S = 0.430 / 512 / -np.log1p(-1 / 512)
REPEATS = 5
DAY_S = 86400


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """One figure. `ok` None = shown for comparison, no mark is set for it. `naive` are the other integrators' figures, by name."""

    name: str
    value: float
    unit: str
    limit: str = ""
    ok: bool | None = None
    naive: dict[str, float] = {}
    note: str = ""


def load_fake(name: str) -> ModuleType:
    full_name = f"edgewright_fakes_{name}"
    if full_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(full_name, FAKES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full_name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[full_name]


def bias(runs: int) -> Iterator[Mark]:
    """Idle, a random load that fills the window, idle: with 512 averages, half on each board."""
    scenes = load_fake("power_scenes")
    for seconds, limit in ((0.5, 2.0), (1.0, 1.0), (2.0, 1.0), (5.0, 0.3), (10.0, 0.3)):
        chance = np.random.default_rng(int(seconds * 10))
        errors: list[tuple[float, float, float]] = []
        for index in range(runs):
            case = (scenes.ORIN_NANO, scenes.AGX_RAIL)[index % 2]
            start = scenes.IDLE_S + chance.uniform(0, 0.4)
            wave = scenes.random_load(case, start, start + seconds, chance)
            chip = scenes.sim.Chip(case.shunt_ohm, phase_s=chance.uniform(0, 8e-4))
            scene = scenes.record(wave, case, start, start + seconds, chip, chance)
            found = window_energy(scene.recording.series(("sim",)), Window(scene.start_s, scene.end_s), FILTER_S)
            assert found is not None
            shown = (found.energy_mj, scenes.right_rectangle(scene), scenes.plain_trapezoid(scene))
            errors.append(tuple(100 * (value / scene.truth_mj - 1) for value in shown))  # type: ignore[arg-type] # three of them
        table = np.array(errors)
        ours, rectangle, trapezoid = table.mean(axis=0)
        spread, worst = table[:, 0].std(), np.quantile(np.abs(table[:, 0]), 0.95)
        yield Mark(
            name=f"energy bias, window {seconds:g} s",
            value=float(ours),
            unit="%",
            limit=f"≤ {limit:g}",
            ok=bool(abs(ours) <= limit),
            naive={"right rectangle": float(rectangle), "trapezoid": float(trapezoid)},
            note=f"sd {spread:.2f}, 95 % of waveforms within {worst:.2f}",
        )


def coverage(runs: int) -> Iterator[Mark]:
    """Steady loads of inferences that vary, on chips soldered at random: does the interval hold the load's mean?"""
    scenes = load_fake("power_scenes")
    chance, covered, halves = np.random.default_rng(2000), [], []
    for index in range(runs):
        case, seconds = (scenes.ORIN_NANO, scenes.AGX_RAIL)[index % 2], (4.4, 10.0)[index // 2 % 2]
        run = scenes.repeated_inferences(case, scenes.IDLE_S + chance.uniform(0, 0.4), seconds, chance)
        scene = scenes.record(run.wave, case, run.start_s, run.end_s, scenes.soldered_chip(case, chance), chance, with_edges=False)
        window, series, traits = Window(run.start_s, run.end_s), scene.recording.series(("sim",)), scene.recording.rails[0].traits
        energy = window_energy(series, window, traits.filter_s)
        assert energy is not None
        blocks = block_means(series, window, traits.filter_s, block_count(window.seconds, traits.filter_s, 0.1))
        share = RailShare(traits, energy.mean_mw, energy.distinct)
        low, high = mean_power(energy.mean_mw, blocks, [share], energy.correction_mj / window.seconds, seed=index).ci95_mw
        covered.append(low <= run.mean_mw <= high)
        halves.append(100 * (high - low) / 2 / run.mean_mw)
    share_covered = 100 * statistics.mean(covered)
    yield Mark(
        name="95 % intervals that hold the truth",
        value=share_covered,
        unit="%",
        limit="93 to 97",
        ok=93 <= share_covered <= 97,
        note=f"half-width {statistics.median(halves):.1f} % of the energy (median)",
    )


def aliasing(runs: int) -> Iterator[Mark]:
    """No averaging in the chip, 10 readings a second, bursts whose period divides the slot or nearly so."""
    scenes = load_fake("power_scenes")
    case = scenes.BoardCase("bursts", 0.005, 5.0, 5000, 12000)
    for period_s in (0.0125, 0.02, 0.025, 1 / 30, 0.05):
        ours, fixed = [], []
        for index in range(runs):
            chance = np.random.default_rng(index)
            start = 2.0 + chance.uniform(0, 0.1)
            wave = scenes.aliasing_load(period_s, start, start + 5, chance.uniform())
            scene = scenes.record(wave, case, start, start + 5, scenes.sim.Chip(0.005, samples=1), chance, with_edges=False)
            found = window_energy(scene.recording.series(("sim",)), Window(start, start + 5), 0.0)
            assert found is not None
            ours.append(100 * (found.energy_mj / scene.truth_mj - 1))
            fixed.append(100 * (scenes.plain_trapezoid(scene) / scene.truth_mj - 1))
        spread, mean = statistics.stdev(ours), statistics.mean(ours)
        yield Mark(
            name=f"spread without averaging, 5 s, bursts every {1000 * period_s:.4g} ms",
            value=spread,
            unit="% sd",
            limit="≤ 7",
            ok=spread <= 7,
            naive={"fixed rate": statistics.stdev(fixed)},
            note=f"mean {mean:+.2f} ± {2 * spread / runs**0.5:.2f}",
        )


def boards() -> Iterator[Mark]:
    """The right total and scope on every known board; none on an unknown one."""
    fake = load_fake("power_boards")
    right = []
    for board in fake.BOARDS:
        with tempfile.TemporaryDirectory() as folder:
            board.build(Path(folder))
            total = read_power(survey_power(Path(folder)), 0.01).total
        is_right = total is not None and abs(total.mean_mw - board.total_mw) < 0.01 and (total.scope, total.rails) == (board.scope, board.labels)
        right.append(is_right)
    yield Mark(name="boards with the right total and scope", value=sum(right), unit=f"of {len(right)}", limit="all, ≥ 14", ok=all(right))


def self_test() -> Iterator[Mark]:
    """A load step through chips of four settings on two boards: what is found, against what the chip was made with."""
    chips = load_fake("ina3221_chip")
    worst = {"filter constant": 0.0, "resolution": 0.0, "read cost": 0.0}
    longest_s = 0.0
    for samples in (64, 128, 512, 1024):
        for shunt_ohm, volts, idle_mw, load_mw in ((0.005, 5.0, 5000, 12000), (0.002, 19.0, 6000, 20000)):
            chip = chips.Chip(shunt_ohm, samples=samples, offsets_uv=(30.0, 0.0, 0.0), stretch=0.05)
            found = _step_through(chips, chip, volts, idle_mw, load_mw)
            truths = (chip.filter_s, chip.step_ma * round(volts * 1000 / 8) * 8 / 1000, 2000 * chips.READ_S)
            seen = (found.filter_s, found.resolution_mw, found.read_p50_ms)
            for name, value, truth in zip(worst, seen, truths, strict=True):
                worst[name] = max(worst[name], 100.0 if value is None else float(100 * abs(value / truth - 1)))
            longest_s = max(longest_s, found.seconds)
    for name, value in worst.items():
        yield Mark(name=f"self-test: {name}, largest error of 8 chips", value=value, unit="%", limit="≤ 5", ok=value <= 5)
    yield Mark(name="self-test: time", value=longest_s, unit="s", limit="< 15", ok=longest_s < 15)


def _step_through(chips: ModuleType, chip: Any, volts: float, idle_mw: float, load_mw: float) -> Any:
    chance = np.random.default_rng(1)
    on_s, off_s = 3.0, 3.0 + LOAD_S
    wave = chips.pieces((0.0, idle_mw), (on_s, load_mw), (off_s, idle_mw), ripple_mw=0.01 * load_mw)
    registers = chips.convert(chip, 0, volts, wave, 0.0, off_s + AFTER_S + 0.2, chance)
    clock = chips.Clock(on_s - IDLE_S)
    rail = Rail("sim", "VDD_IN", "ina3221", ina3221_traits(volts * 1000, chip.shunt_ohm * 1e6, None))
    sampler = Sampler(chips.ChipReader((rail,), [registers], clock), period_s=PERIOD_S, clock_s=clock, chance=random.Random(1))
    while clock.now_s < off_s + AFTER_S:
        clock.now_s = max(clock.now_s, sampler.due_s)
        sampler.sample_when_due()
    return judge_step(sampler.recording, on_s, off_s, None)


def sampler_cost(samples: int) -> Iterator[Mark]:
    """Processor time of the sampler's own work for three rails: six files of a copied tree, so without the wait for the I²C bus."""
    shares = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            load_fake("power_boards")._agx_orin_12v(Path(folder))  # noqa: SLF001 - one of the builders
            survey = survey_power(Path(folder))
            assert survey.totals.main is not None
            with open_rails(survey, survey.rails_of(survey.totals.main)) as reader:
                sampler = Sampler(reader)
                sampler.sample()
                before_s = time.thread_time()
                for _ in range(samples):
                    sampler.sample()
                shares.append(100 * 10 * (time.thread_time() - before_s) / samples)
    share = statistics.median(shares)
    note = f"{share * 1000:.0f} µs a reading; {min(shares):.3f} to {max(shares):.3f} over {REPEATS}"
    yield Mark(name="sampler at 10 Hz, three rails", value=share, unit="% of a core", limit="≤ 0.5", ok=share <= 0.5, note=note)


def day(hours: float) -> Iterator[Mark]:
    """Simulated hours at 10 Hz: what is allocated more at the end than after the recording was first full."""
    chips = load_fake("ina3221_chip")
    rails = tuple(Rail(f"r{index}", f"R{index}", "fake") for index in range(3))

    class Steady:
        def __init__(self) -> None:
            self.rails = rails

        def read(self) -> list[float | None]:
            return [1000.0, 2000.0, 3000.0]

    clock = chips.Clock(0.0)
    sampler = Sampler(Steady(), clock_s=clock, capacity=10_000, chance=random.Random(0))
    full = None
    tracemalloc.start()
    while clock.now_s < hours * 3600:
        clock.now_s = sampler.due_s
        sampler.sample_when_due()
        if full is None and sampler.recording.dropped:
            full = tracemalloc.get_traced_memory()[0]
    grown = tracemalloc.get_traced_memory()[0] - (full or 0)
    tracemalloc.stop()
    taken = sampler.recording.dropped + len(sampler.recording)
    peak_mb = peak_rss_mb(os.getpid())
    yield Mark(
        name=f"growth over {hours:g} simulated hours",
        value=grown / 1e3,
        unit="kB",
        limit="≤ one recording (320)",
        ok=grown <= 4 * 8 * 10_000,
        note=f"{taken} readings; peak RSS {peak_mb:.0f} MB",
    )


def fuzz(reads: int) -> Iterator[Mark]:
    """Reads with errors and torn values at random: no crash, and as many gaps as faults."""
    unaccounted = done = 0
    for name in ("_orin_nano", "_agx_orin_12v", "_tx2"):
        with tempfile.TemporaryDirectory() as folder:
            getattr(load_fake("power_boards"), name)(Path(folder))
            faults, gaps, count = load_fake("torn_driver").fuzz_reads(Path(folder), reads // 3 + 1)
            unaccounted += abs(faults - gaps)
            done += count
    yield Mark(name=f"gaps unaccounted in {done} fuzzed reads", value=unaccounted, unit="", limit="0", ok=unaccounted == 0)


def clock_steps() -> Iterator[Mark]:
    """The wall clock jumps an hour between readings; and how far a reading's time is from its register's."""
    scenes = load_fake("power_scenes")
    energies, apart, wall = [], 0.0, time.time
    try:
        for step_s in (0, 3600, -3600):
            time.time = lambda step_s=step_s: wall() + step_s  # type: ignore[assignment]
            chance = np.random.default_rng(1)
            wave = scenes.random_load(scenes.ORIN_NANO, 4.3, 9.3, chance)
            scene = scenes.record(wave, scenes.ORIN_NANO, 4.3, 9.3, scenes.sim.Chip(0.005), chance)
            found = window_energy(scene.recording.series(("sim",)), Window(4.3, 9.3), FILTER_S)
            assert found is not None
            energies.append(found.energy_mj)
            apart = max(apart, float(np.abs(np.array(scene.recording.times_s) - np.array(scene.reader.read_times_s)).max()))
    finally:
        time.time = wall
    yield Mark(name="change by a wall clock step of ±1 h", value=max(energies) - min(energies), unit="mJ", limit="0", ok=len(set(energies)) == 1)
    yield Mark(name="a reading's time, largest error", value=1000 * apart, unit="ms", limit="≤ 1", ok=apart <= 0.001)


def kills(count: int) -> Iterator[Mark]:
    """Sweeps of power modes, each killed (SIGKILL) at a random moment, then the next start."""
    with tempfile.TemporaryDirectory() as folder:
        elsewhere, restored = load_fake("mode_file").kill_sweeps(Path(folder), count)
    note = f"{elsewhere} kills had left another mode"
    yield Mark(name="original mode back after kill -9", value=restored, unit=f"of {count}", limit="all", ok=restored == count, note=note)
