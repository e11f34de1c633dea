"""What was measured, with the conditions it was measured under: the values that the gate judges and that reports carry.

Rules:
- units stand in the names; fractions are 0..1; ``None`` means "not measured", never zero;
- a number that was not measured has its reason beside it;
- these are values: frozen, comparable, strict when they are read back.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every measured value: strict and immutable."""


class Latency(Value, frozen=True, kw_only=True):
    """Milliseconds per inference call. A percentile is None below its minimum sample count (p99 needs 100, p90 and p50 need 10)."""

    mean: float
    p50: float | None
    p90: float | None
    p99: float | None
    samples: int
    min: float | None = None
    max: float | None = None
    throughput_per_s: float | None = None
    standard_deviation: float | None = None
    p50_ci95: tuple[float, float] | None = None
    p90_ci95: tuple[float, float] | None = None
    p99_ci95: tuple[float, float] | None = None
    drift_percent_per_min: float | None = None
    steady: bool | None = None

    @property
    def middle(self) -> float:
        """The median, or the mean of too few samples."""
        return self.mean if self.p50 is None else self.p50

    @property
    def middle_spread(self) -> float:
        """Half the width of the median's 95 % interval, or of the whole range of too few samples."""
        low, high = self.p50_ci95 or (self.min or self.middle, self.max or self.middle)
        return (high - low) / 2


class Energy(Value, frozen=True, kw_only=True):
    """Millijoules per inference, with the 95 % confidence interval. `mean` is gross: all that `scope` draws while it works.

    `net` is what is left when the idle power, measured before and after, is taken away. `spread` and `sensor_error` are the standard
    errors from the load's own changes and from the sensor; `flags` are the validity gates that this number does not pass.
    """

    mean: float
    ci95: tuple[float, float]
    source: str
    power_mw: float | None = None
    scope: str | None = None
    net: float | None = None
    net_ci95: tuple[float, float] | None = None
    idle_before_mw: float | None = None
    idle_after_mw: float | None = None
    peak_mw: float | None = None
    spread: float | None = None
    sensor_error: float | None = None
    seconds: float | None = None
    inferences: int | None = None
    edp_mj_ms: float | None = None
    inferences_per_j: float | None = None
    flags: tuple[str, ...] = ()


class OutputFidelity(Value, frozen=True, kw_only=True):
    """How one output of the engine differs from the FP32 model's."""

    sqnr_db: float | None
    max_abs_error: float | None = None


class Fidelity(Value, frozen=True, kw_only=True):
    """The engine against the FP32 model on the same samples; top-1 and agreement are None for tasks other than classification."""

    top1_fp32: float | None
    top1: float | None
    agreement: float | None
    sqnr_db: float | None
    samples: int
    measured_on: Literal["evaluation", "calibration"] = "evaluation"
    outputs: dict[str, OutputFidelity] = {}
    score: float | None = None


class Conditions(Value, frozen=True, kw_only=True):
    """What a number is only true under. Empty strings and None mean that the board does not say.

    What ends in ``_end`` was read after the measurement, the rest before it; counts (`over_current_events`, `swapped_pages`) are of the time between.
    """

    board: str = ""
    processor: str = ""
    power_mode: str | None = None
    clocks_mhz: dict[str, float] = {}
    temperatures_c: dict[str, float] = {}
    throttled: bool | None = None
    load_1min: float | None = None
    threads: int = 1
    batch: int = 1
    backend: str = ""
    backend_version: str = ""
    provider: str = ""
    sensor: str | None = None
    filter_s: float | None = None
    notes: tuple[str, ...] = ()
    power_mode_end: str | None = None
    clocks_end_mhz: dict[str, float] = {}
    temperatures_end_c: dict[str, float] = {}
    trips_passed: tuple[str, ...] = ()
    cooling: dict[str, int] = {}
    over_current_events: dict[str, int] = {}
    fan: dict[str, float] = {}
    other_cpu_percent: float | None = None
    swapped_pages: int | None = None


class Candidate(Value, frozen=True, kw_only=True):
    """One engine that could be activated, as it was measured on this device."""

    name: str
    backend: str
    path: str
    size_bytes: int
    latency_ms: Latency | None
    energy_mj: Energy | None
    fidelity: Fidelity | None
    energy_reason: str | None = None
    conditions: Conditions = Conditions()
    build_s: float | None = None
    build_memory_mb: float | None = None
    fingerprint: str = ""
    precision: str = ""
    is_cached: bool = False
