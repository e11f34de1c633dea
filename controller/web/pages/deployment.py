"""One deployment, with its rollout where it has one: waves, progress, FP32 against the chosen engines, the Pareto plot, and why devices refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from markupsafe import Markup

from ....core.budget import Budget
from ....core.wire.messages import TERMINAL_STATES
from ...comparison import FP32, EngineMedians, EnginePoint
from ...deployments import DeploymentDetail, TargetLine
from ...rollout import TRANSITIONS
from ...rollouts import FAILED_STATES, RolloutView, WaveView
from ..access import Caller
from ..asked import Asked
from ..charts import Dot, Part, scatter_chart, share_bar, stacked_bar
from ..site import Site
from .overview import rollout_bar, states_bar

PAGE = 50
MAX_PLOTS = 4
FP32_MARGIN_DB = 6.0
DEEDS = ("approve", "resume", "pause", "retry", "roll_back", "cancel")


@dataclass(frozen=True, slots=True)
class EngineLine:
    """One row of the table of engines: its figures, FP32's of the same class, and the length that its latency is drawn with."""

    engine: EngineMedians
    reference: EngineMedians
    bar: Markup

    @property
    def is_reference(self) -> bool:
        return self.engine.engine == FP32


@dataclass(frozen=True, slots=True)
class WaveLine:
    """One wave and its bar."""

    number: int
    wave: WaveView
    bar: Markup
    is_open: bool


@dataclass(frozen=True, slots=True)
class DeploymentPage:
    """`deeds` are what the rollout can do now. `wanted` chooses the devices that are shown, `next` begins their next page."""

    deployment: DeploymentDetail
    budget: str
    rollout: RolloutView | None
    progress: Markup
    waves: tuple[WaveLine, ...]
    deeds: tuple[str, ...]
    engines: tuple[EngineLine, ...]
    fronts: tuple[tuple[str, Markup], ...]
    targets: tuple[TargetLine, ...]
    wanted: str
    next: str | None
    open_devices: int


def show_rollout(site: Site, asked: Asked, _caller: Caller) -> DeploymentPage:
    view = site.rollouts.view(asked.parameters["rollout"], site.clock())
    return _page(site, asked, view, view.deployment)


def show_deployment(site: Site, asked: Asked, _caller: Caller) -> DeploymentPage:
    return _page(site, asked, None, asked.parameters["deployment"])


def _page(site: Site, asked: Asked, rollout: RolloutView | None, deployment: str) -> DeploymentPage:
    detail = site.deployments.detail(deployment)
    wanted = asked.first("show")
    states = {"failed": FAILED_STATES, "succeeded": ("SUCCEEDED",)}.get(wanted, ())
    targets = site.deployments.targets(detail.deployment, states=states, after=asked.first("after")[:200], limit=PAGE)
    return DeploymentPage(
        deployment=detail,
        budget=_budget_words(detail.budget),
        rollout=rollout,
        progress=states_bar(detail.states, detail.deployment) if rollout is None else rollout_bar(rollout),
        waves=() if rollout is None else tuple(_wave(number, wave, rollout) for number, wave in enumerate(rollout.waves)),
        deeds=() if rollout is None else _deeds(rollout),
        engines=tuple(_engine_lines(site.comparison.of_deployment(detail.deployment))),
        fronts=tuple(_fronts(site.comparison.points(detail.deployment))),
        targets=tuple(targets),
        wanted=wanted if states else "",
        next=targets[-1].device if len(targets) == PAGE else None,
        open_devices=sum(entry.goals for entry in detail.states if entry.state not in TERMINAL_STATES),
    )


def _deeds(rollout: RolloutView) -> tuple[str, ...]:
    """What it can do now; there is nothing to retry where nothing has failed."""
    has_failed = any(wave.failed for wave in rollout.waves)
    return tuple(deed for deed in DEEDS if deed in TRANSITIONS[rollout.state] and (deed != "retry" or has_failed))


def _budget_words(budget: Budget) -> str:
    """The limits that are set."""
    known = msgspec.to_builtins(budget)  # leaves out what is not limited
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in known.items() if isinstance(value, int | float)) or "no limits"


def _wave(number: int, wave: WaveView, rollout: RolloutView) -> WaveLine:
    parts = [
        Part("succeeded", wave.succeeded, "good"),
        Part("under way", wave.open, "busy"),
        Part("not released yet", wave.size - wave.released, "none"),
        Part("replaced", wave.replaced, "quiet"),
        Part("failed or silent", wave.failed, "bad"),
    ]
    is_open = number == rollout.wave and rollout.ended_s is None
    return WaveLine(number + 1, wave, stacked_bar(parts, f"Wave {number + 1}"), is_open)


def _engine_lines(engines: Sequence[EngineMedians]) -> list[EngineLine]:
    """FP32 stands first of its class, and its row is what the others are held against."""
    lines = []
    reference = engines[0] if engines else None
    for engine in engines:
        reference = engine if engine.engine == FP32 else reference
        assert reference is not None
        most = max((one.latency_p50_ms or 0.0 for one in engines if one.hardware_class == engine.hardware_class), default=0.0)
        bar = share_bar(engine.latency_p50_ms or 0.0, most, "quiet" if engine.engine == FP32 else "good")
        lines.append(EngineLine(engine, reference, bar))
    return lines


def _fronts(points: Sequence[EnginePoint]) -> list[tuple[str, Markup]]:
    """A plot for each class that has measured fidelity, the largest first."""
    classes = sorted({point.hardware_class for point in points}, key=lambda name: -max(one.devices for one in points if one.hardware_class == name))
    plots = [(name, _front([point for point in points if point.hardware_class == name])) for name in classes]
    return [(name, plot) for name, plot in plots if plot][:MAX_PLOTS]


def _front(points: Sequence[EnginePoint]) -> Markup:
    """Quick to the left, faithful above. FP32 has no noise of its own: it stands a little above the others."""
    measured = [point.sqnr_db for point in points if point.sqnr_db is not None and point.engine != FP32]
    if not measured:
        return Markup()
    top, dots = max(measured) + FP32_MARGIN_DB, []
    for point in points:
        faithful = top if point.engine == FP32 else point.sqnr_db
        if faithful is not None:
            exact = "as it was trained" if point.engine == FP32 else f"{faithful:.1f} dB"
            words = f"{point.engine}: {point.latency_p50_ms:.3g} ms, {exact}, measured by {point.devices}, chosen by {point.chosen_by} devices"
            dots.append(Dot(point.latency_p50_ms, faithful, 0, words, point.is_best, point.chosen_by > 0))
    label = f"Engines on {points[0].hardware_class}: {'; '.join(dot.words for dot in dots)}"
    return scatter_chart(dots, [points[0].hardware_class], "median latency, ms", "fidelity, dB", label)
