"""One device: what runs, why something does not, its history, its power and latency over time, and its last trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ....core.errors import EdgewrightError, Reason
from ....core.profile import Profile
from ....core.trace import unpack_trace
from ....core.wire.messages import Event, Telemetry
from ...history import CommandView, DeviceDetail, ProfileView
from ...measurements import MeasurementView
from ..access import Caller
from ..asked import Asked
from ..charts import Line, line_chart
from ..site import Site

EVENTS, COMMANDS, MEASUREMENTS, TELEMETRY = 25, 8, 10, 500


@dataclass(frozen=True, slots=True)
class DeviceView:
    """`power`, `heat`, `latency` and `trace` are charts, empty where there is nothing to draw."""

    device: DeviceDetail
    events: tuple[Event, ...]
    commands: tuple[CommandView, ...]
    measurements: tuple[MeasurementView, ...]
    last: Telemetry | None
    power: Markup
    heat: Markup
    latency: Markup
    trace: Markup
    profile: Profile | None
    profile_s: float | None
    profile_problem: Reason | None


def show(site: Site, asked: Asked, _caller: Caller) -> DeviceView:
    detail = site.history.detail(asked.parameters["device"])
    telemetry = site.history.telemetry(detail.name, limit=TELEMETRY)
    measurements = site.measurements.of_device(detail.name)
    told = site.history.last_profile(detail.name)
    profile, problem = _profile(told)
    return DeviceView(
        device=detail,
        events=tuple(site.history.events(detail.name, limit=EVENTS)),
        commands=tuple(site.history.commands(detail.name, limit=COMMANDS)),
        measurements=tuple(reversed(measurements[-MEASUREMENTS:])),
        last=telemetry[-1] if telemetry else None,
        power=line_chart([Line("power", [(entry.time_s, _watts(entry.power_mw)) for entry in telemetry])], "W", f"Power of {detail.name} over time"),
        heat=_heat(telemetry, detail.name),
        latency=_latency(measurements, site.history.models_of(entry.deployment for entry in measurements), detail.name),
        trace=Markup() if profile is None else _trace(profile, detail.name),
        profile=profile,
        profile_s=None if told is None else told.created_s,
        profile_problem=problem,
    )


def _watts(power_mw: float | None) -> float | None:
    return None if power_mw is None else power_mw / 1000


def _heat(telemetry: Sequence[Telemetry], name: str) -> Markup:
    temperature = Line("temperature, °C", [(entry.time_s, entry.temperature_c) for entry in telemetry])
    processor = Line("processor, %", [(entry.time_s, entry.cpu_percent) for entry in telemetry])
    return line_chart([temperature, processor], "°C, %", f"Temperature and load of {name} over time")


def _latency(measurements: Sequence[MeasurementView], models: Mapping[str, str], name: str) -> Markup:
    """Each model's engines, as they were measured when they came."""
    lines = []
    for model in sorted({models.get(entry.deployment, "") for entry in measurements}):
        mine = [entry for entry in measurements if models.get(entry.deployment, "") == model]
        lines += [
            Line(f"{model} p50", [(entry.time_s, entry.latency_p50_ms) for entry in mine]),
            Line(f"{model} p99", [(entry.time_s, entry.latency_p99_ms) for entry in mine]),
            Line(f"{model} FP32 p50", [(entry.time_s, entry.fp32_latency_p50_ms) for entry in mine]),
        ]
    return line_chart(lines, "ms", f"Latency on {name} over time")


def _profile(told: ProfileView | None) -> tuple[Profile | None, Reason | None]:
    if told is None:
        return None, None
    if told.report is None:
        return None, told.problem
    return told.report.profile, told.report.reason


def _trace(profile: Profile, name: str) -> Markup:
    if profile.trace is None:
        return Markup()
    try:
        trace = unpack_trace(profile.trace)
    except EdgewrightError:  # it was whole when it was kept
        return Markup()
    lines = [
        Line(rail.label, [(moment_us / 1e6, _watts(value)) for moment_us, value in zip(trace.times_us, column, strict=True)])
        for rail, column in zip(trace.rails, trace.values_mw, strict=True)
    ]
    return line_chart(lines, "W", f"Last trace of power on {name}", is_time=False)
