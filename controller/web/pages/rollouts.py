"""Rollouts and the deployments that went to their devices at once: two lists."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from ...deployments import DeploymentSummary
from ...rollouts import RolloutView
from ..access import Caller
from ..asked import Asked
from ..site import Site
from .overview import rollout_bar, states_bar

LATEST = 30
PAGE = 30


@dataclass(frozen=True, slots=True)
class RolloutsView:
    """The bars belong to the entries beside them."""

    rollouts: tuple[RolloutView, ...]
    rollout_bars: tuple[Markup, ...]
    deployments: tuple[DeploymentSummary, ...]
    deployment_bars: tuple[Markup, ...]
    next: str | None


def show(site: Site, asked: Asked, _caller: Caller) -> RolloutsView:
    rollouts = site.rollouts.all(site.clock(), limit=LATEST)
    deployments = site.deployments.all(after=asked.first("after")[:200], limit=PAGE)
    return RolloutsView(
        rollouts=tuple(rollouts),
        rollout_bars=tuple(rollout_bar(rollout) for rollout in rollouts),
        deployments=tuple(deployments),
        deployment_bars=tuple(states_bar(entry.states, entry.deployment) for entry in deployments),
        next=deployments[-1].deployment if len(deployments) == PAGE else None,
    )
