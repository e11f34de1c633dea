"""The first page: the whole fleet at one look."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from ...deployments import DeploymentSummary
from ...overview import FleetOverview, StateCount
from ...rollouts import RolloutView
from ..access import Caller
from ..asked import Asked
from ..charts import Part, share_bar, stacked_bar
from ..site import Site
from ..words import kind_of, state_words

LATEST, MAX_ROLLOUTS = 5, 20


@dataclass(frozen=True, slots=True)
class OverviewView:
    """`progress` is the bar of all goals' states."""

    fleet: FleetOverview
    progress: Markup
    class_bars: tuple[Markup, ...]
    open_rollouts: tuple[RolloutView, ...]
    rollout_bars: tuple[Markup, ...]
    latest: tuple[DeploymentSummary, ...]
    latest_bars: tuple[Markup, ...]


def show(site: Site, _asked: Asked, _caller: Caller) -> OverviewView:
    """The same for all who look."""
    return site.recent.get("overview", lambda: _look(site))


def _look(site: Site) -> OverviewView:
    fleet = site.overview.look(site.clock())
    rollouts = site.rollouts.all(site.clock(), limit=MAX_ROLLOUTS, only_open=True)
    latest = site.deployments.all(limit=LATEST)
    most = max((entry.devices for entry in fleet.classes), default=0)
    return OverviewView(
        fleet=fleet,
        progress=states_bar(fleet.states, "All goals"),
        class_bars=tuple(share_bar(entry.devices, most, "busy") for entry in fleet.classes),
        open_rollouts=tuple(rollouts),
        rollout_bars=tuple(rollout_bar(rollout) for rollout in rollouts),
        latest=tuple(latest),
        latest_bars=tuple(states_bar(entry.states, entry.deployment) for entry in latest),
    )


def states_bar(states: tuple[StateCount, ...], label: str) -> Markup:
    """Good first, bad last, so that the same always stands at the same end."""
    order = {"good": 0, "busy": 1, "quiet": 2, "warn": 3, "bad": 4}
    known = sorted(states, key=lambda entry: order[kind_of(entry.state)])
    return stacked_bar([Part(state_words(entry.state), entry.goals, kind_of(entry.state)) for entry in known], label)


def rollout_bar(rollout: RolloutView) -> Markup:
    """All devices of a rollout by what came of them."""
    total = sum(wave.size for wave in rollout.waves)
    succeeded, failed = sum(wave.succeeded for wave in rollout.waves), sum(wave.failed for wave in rollout.waves)
    under_way, replaced = sum(wave.open for wave in rollout.waves), sum(wave.replaced for wave in rollout.waves)
    waiting = total - succeeded - failed - under_way - replaced
    parts = [
        Part("succeeded", succeeded, "good"),
        Part("under way", under_way, "busy"),
        Part("not released yet", waiting, "none"),
        Part("replaced", replaced, "quiet"),
        Part("failed or silent", failed, "bad"),
    ]
    return stacked_bar(parts, rollout.rollout)
