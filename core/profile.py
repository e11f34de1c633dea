"""A profile of a device in the field: what was asked, what was measured, under which conditions, and the power over time. It crosses the wire."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from .errors import Reason, Rejected
from .histogram import Histogram, check_histogram
from .measurement import Conditions, Energy, Latency, Value
from .trace import unpack_trace

MAX_PROFILE_S = 3600.0
MAX_PROFILE_BYTES = 1 << 20

ScenarioName = Literal["single-stream", "multi-stream", "offline", "open-loop"]


class ProfileOrder(Value, frozen=True, kw_only=True, omit_defaults=True):
    """What to profile: a model of the device under a scenario, or without a model whatever runs there now."""

    model: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    scenario: ScenarioName = "single-stream"
    seconds: Annotated[float, msgspec.Meta(ge=0.1, le=MAX_PROFILE_S)] = 10.0
    streams: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    rate_per_s: Annotated[float, msgspec.Meta(gt=0, le=100_000)] = 10.0


class RailPower(Value, frozen=True, kw_only=True):
    """One rail's mean over the profile, None where it never answered."""

    label: str
    sensor: str
    mean_mw: float | None


class Profile(Value, frozen=True, kw_only=True):
    """What came of an order. `trace` is packed (see `trace`), None without a sensor; `power_mw` is of `scope`."""

    order: ProfileOrder
    latency_ms: Latency | None
    histogram: Histogram | None
    energy_mj: Energy | None
    energy_reason: str | None
    conditions: Conditions
    rails: tuple[RailPower, ...] = ()
    power_mw: float | None = None
    scope: str | None = None
    throughput_per_s: float | None = None
    late: int = 0
    trace: bytes | None = None


class ProfileReport(Value, frozen=True, kw_only=True):
    """What the device sends for the command `command`: the profile, or why there is none."""

    command: str
    deployment: str | None = None
    profile: Profile | None = None
    reason: Reason | None = None


def decode_report(data: bytes) -> ProfileReport:
    """A report that a device has sent, whole and checked.

    Raises:
        Rejected: ``profile-malformed``, ``trace-malformed`` or ``histogram-malformed``.
    """
    if len(data) > MAX_PROFILE_BYTES:
        raise _malformed(f"has {len(data)} bytes")
    try:
        report = msgspec.json.decode(data, type=ProfileReport)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(f"does not fit: {error}") from error
    if (report.profile is None) is (report.reason is None):
        raise _malformed("has neither a profile nor a reason, or both")
    if report.profile is not None:
        if report.profile.trace is not None:
            unpack_trace(report.profile.trace)
        if report.profile.histogram is not None:
            check_histogram(report.profile.histogram)
    return report


def _malformed(what: str) -> Rejected:
    return Rejected("profile-malformed", f"a profile {what}", "Update the agent or the controller")
