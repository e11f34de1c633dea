"""A TI INA3221 and its Linux driver, written from the data sheet (SBOS576A): the board's true power goes in, register values come out.

- The chip converts shunt 1, bus 1, shunt 2, bus 2, shunt 3, bus 3, and again; a conversion sees only its own 140 µs, so that each channel is
  watched for a sixth of the time.
- With averaging on, a conversion moves the register by 1/N of the difference (§8.4.1).
- Registers hold steps of 40 µV (shunt) and 8 mV (bus); each conversion has noise; a chip has offsets, gains and a shunt that is not what it says.
- The driver answers whole millivolts and milliamps, and takes half a millisecond of the bus for each.

It knows nothing of how the product samples, integrates or corrects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

SHUNT_STEP_UV = 40.0
BUS_STEP_MV = 8.0
READ_S = 0.00055


@dataclass(frozen=True, slots=True)
class Waveform:
    """Power over time in mW: straight pieces from `starts_s[k]`, beginning at `powers_mw[k]` and changing by `slopes[k]` mW/s; plus a sine."""

    starts_s: Array
    powers_mw: Array
    slopes: Array
    ripple_mw: float = 0.0
    ripple_hz: float = 50.0

    def energy_mj(self, times_s: npt.ArrayLike) -> Array:
        """The exact integral from the first start to each of the times."""
        times = np.asarray(times_s, dtype=np.float64)
        lengths = np.diff(self.starts_s)
        pieces = self.powers_mw[:-1] * lengths + self.slopes[:-1] * lengths**2 / 2
        before = np.concatenate([[0.0], np.cumsum(pieces)])
        place = np.clip(np.searchsorted(self.starts_s, times, side="right") - 1, 0, len(self.starts_s) - 1)
        inside = times - self.starts_s[place]
        steady = before[place] + self.powers_mw[place] * inside + self.slopes[place] * inside**2 / 2
        pulse = 2 * np.pi * self.ripple_hz
        return steady + self.ripple_mw / pulse * (np.cos(pulse * self.starts_s[0]) - np.cos(pulse * times))

    def between(self, start_s: float, end_s: float) -> float:
        start, end = self.energy_mj([start_s, end_s])
        return float(end - start)


def pieces(*parts: tuple[float, float], slopes: Sequence[float] | None = None, ripple_mw: float = 0.0) -> Waveform:
    """Constant powers: (from when, mW)."""
    starts, powers = zip(*parts, strict=True)
    return Waveform(np.array(starts, float), np.array(powers, float), np.array(slopes or [0.0] * len(starts), float), ripple_mw)


@dataclass(frozen=True, slots=True)
class Chip:
    """One chip as it was soldered. Errors are of all three channels alike in kind; offsets are per channel. `stretch` lengthens conversions."""

    shunt_ohm: float
    samples: int = 512
    conversion_s: float = 140e-6
    offsets_uv: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shunt_gain: float = 0.0
    bus_gain: float = 0.0
    shunt_error: tuple[float, float, float] = (0.0, 0.0, 0.0)
    noise_uv: float = 20.0
    stretch: float = 0.0
    phase_s: float = 0.0

    @property
    def cycle_s(self) -> float:
        return 6 * self.conversion_s * (1 + self.stretch)

    @property
    def filter_s(self) -> float:
        """The true time constant: N - 1/2 cycles, to first order."""
        return 0.0 if self.samples == 1 else -self.cycle_s / np.log1p(-1 / self.samples)

    @property
    def step_ma(self) -> float:
        return SHUNT_STEP_UV / 1000 / self.shunt_ohm


@dataclass(frozen=True, slots=True)
class Registers:
    """One channel's registers: `begin_s` is when the first conversion pair was finished, then one pair per cycle."""

    begin_s: float
    cycle_s: float
    millivolts: Array
    milliamps: Array

    def at(self, time_s: float) -> tuple[int, int]:
        place = min(len(self.milliamps) - 1, max(0, int((time_s - self.begin_s) / self.cycle_s)))
        return int(self.millivolts[place]), int(self.milliamps[place])


def convert(chip: Chip, channel: int, volts: float, wave: Waveform, start_s: float, end_s: float, chance: np.random.Generator) -> Registers:
    """Run the chip from `start_s`; its filter begins settled on the power at that time."""
    length_s = chip.conversion_s * (1 + chip.stretch)
    begins = np.arange(start_s + chip.phase_s + 2 * channel * length_s, end_s, chip.cycle_s)
    seen_mw = (wave.energy_mj(begins + length_s) - wave.energy_mj(begins)) / length_s
    ohm = chip.shunt_ohm * (1 + chip.shunt_error[channel])
    shunt_uv = (seen_mw / volts * ohm * 1000) * (1 + chip.shunt_gain) + chip.offsets_uv[channel] + chance.normal(0, chip.noise_uv, len(begins))
    bus_mv = volts * 1000 * (1 + chip.bus_gain) + chance.normal(0, 2.0, len(begins))
    settled_uv, settled_mv = float(np.mean(shunt_uv[:24])), float(np.mean(bus_mv[:24]))
    shunt_uv, bus_mv = _average(shunt_uv, settled_uv, chip.samples), _average(bus_mv, settled_mv, chip.samples)
    stepped_uv = np.round(shunt_uv / SHUNT_STEP_UV) * SHUNT_STEP_UV
    milliamps = np.round(stepped_uv / chip.shunt_ohm / 1000)
    return Registers(float(begins[0]) + 2 * length_s, chip.cycle_s, np.round(bus_mv / BUS_STEP_MV) * BUS_STEP_MV, milliamps)


def _average(values: Array, settled: float, samples: int) -> Array:
    if samples == 1:
        return values
    share = 1 / samples
    return np.fromiter(accumulate(values, lambda shown, value: shown + (value - shown) * share, initial=settled), float, len(values) + 1)[1:]


@dataclass(slots=True)
class Clock:
    """Simulated time. Calling it tells the time."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass(slots=True)
class ChipReader:
    """What the sampler reads: `rails` of the product in the order of `channels`. Each number costs bus time; now and then the driver blocks."""

    rails: tuple[Any, ...]
    channels: Sequence[Registers]
    clock: Clock
    blocks: Callable[[], float] = lambda: 0.0
    read_times_s: list[float] = field(default_factory=list)

    def read(self) -> list[float | None]:
        row: list[float | None] = []
        for channel in self.channels:
            self.clock.now_s += READ_S + self.blocks()
            millivolts, _ = channel.at(self.clock.now_s)
            self.clock.now_s += READ_S
            _, milliamps = channel.at(self.clock.now_s)
            row.append(millivolts * milliamps / 1000)
        self.read_times_s.append(self.clock.now_s)
        return row
