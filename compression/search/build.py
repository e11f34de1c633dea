"""Builds a plan whole: channels cut, forms fitted, and the whole network repaired towards the original's activations."""

from __future__ import annotations

from typing import Any

from ..activations import Engine
from ..base import Progress
from ..network import Network
from ..repair.rebuild import rebuild
from ..samples import Samples
from ..surgery import cut_channels
from .plan import Plan
from .space import Space


def built_whole(space: Space, plan: Plan, samples: Samples, engine: Engine, progress: Progress) -> Any:
    """The model of `plan`, in float; what a plan leaves in float while the rest is quantised is up to the calibration."""
    kept = space.coupling.kept(space.removed(plan.levels))
    start = Network(cut_channels(space.network, kept, {}))
    return rebuild(space.network, plan.forms, samples, engine, start=start, kept=kept, progress=progress).model
