"""How long plans take as whole networks, before their weights are fitted: skeletons in turns with that of the network as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from ..calibration.uncalibrated import in_codes
from ..compression.search.plan import Plan
from ..compression.search.precision import Codes
from ..compression.search.skeleton import float_names, skeleton
from ..compression.search.space import Space
from ..core.errors import EdgewrightError
from ..core.measurement import Latency
from ..profiling.latency import measure_interleaved
from .ladder import FALLBACK
from .opener import BackendOpener
from .spending import Spending

# Of each network: long enough that its median is known to about half a percent on an idle machine.
SECONDS_OF_EACH = 0.6
MIN_SAMPLES = 60
Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Share:
    """The time of a plan as a share of the network's as it is, and half the width of its 95 % interval."""

    value: float
    spread: float


@dataclass(frozen=True, slots=True)
class Skeletons:
    """Times plans of one space. `codes` None = the network runs in float."""

    space: Space
    opened: BackendOpener
    codes: Codes | None
    spending: Spending
    cancel: Callable[[], bool]

    def shares(self, plans: Sequence[Plan]) -> list[Share | None]:
        """Of each plan, as many as may still be measured; None for one that the backend cannot run."""
        most = max(0, self.spending.measurements_left - 1)
        with ExitStack() as stack:
            start = stack.enter_context(self.opened(self._model(Plan())))
            calls: dict[str, Call] = {"start": start}
            for index, plan in enumerate(plans[:most]):
                try:
                    calls[str(index)] = stack.enter_context(self.opened(self._model(plan)))
                except EdgewrightError as error:
                    if error.code == "cancelled":
                        raise
            timed = measure_interleaved(calls, seconds=SECONDS_OF_EACH, warmup_s=0.05, min_samples=MIN_SAMPLES, cancel=self.cancel)
        self.spending.measured += len(timed)
        return [_share(timed[str(index)], timed["start"]) if str(index) in timed else None for index in range(len(plans))]

    def _model(self, plan: Plan) -> Any:
        model = skeleton(self.space, plan)
        if self.codes is None:
            return model
        floats = float_names(self.space, plan, self.codes.floats)
        coded = in_codes(model, floats, self.codes.ranges, is_explicit=self.opened.backend != FALLBACK)
        return model if coded is None else coded


def _share(own: Latency, start: Latency) -> Share:
    own_ms, start_ms = own.middle, start.middle
    squares = (own.middle_spread / own_ms) ** 2 + (start.middle_spread / start_ms) ** 2
    value = own_ms / start_ms
    return Share(value, value * squares**0.5)
