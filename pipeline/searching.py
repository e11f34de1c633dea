"""The search of `optimize`: weigh, time, then rounds of solving, building whole, measuring and correcting, inside a number of seconds.

Rules:
- what was measured is kept on disk before anything else happens: a run that is cut short goes on from there (`CostTable`, the stage cache);
- rounds are steered by what whole networks measured, never by tables alone; the guard is `choose`, over every engine that was built;
- the time is held by not beginning what would not be finished: the longest round so far says how long the next one takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .. import compression as compression_package
from ..calibration.normalize import normalized_model
from ..compression import search as search_package
from ..compression.activations import Engine
from ..compression.fidelity import Reference, record_reference
from ..compression.network import Network
from ..compression.samples import Samples, read_samples
from ..compression.search.bench import MAX_MEASUREMENTS, Bench, Measured, measure_variants
from ..compression.search.costs import CostTable
from ..compression.search.damage import FORMS, explore
from ..compression.search.keeping import KeptSpace, kept, space_of
from ..compression.search.plan import Plan, Setting, Variant
from ..compression.search.predict import Prediction, Tried, corrected, damage_of, delta_ms
from ..compression.search.prices import Goal, Prices
from ..compression.search.report import layers_of
from ..compression.search.sift import sifted
from ..compression.search.solve import Limits, solve
from ..compression.search.space import Space
from ..core.dataset import Dataset
from ..core.digest import digest_of_file
from ..core.measurement import Latency
from ..core.search import SearchReport
from ..engines.base import BuildOptions
from ..profiling.energy_run import measure_energy
from .allowance import Allowance, next_limit
from .build import Built
from .cache import digest_of_code, digest_of_tree, key_of
from .choose import MARGIN
from .judging import Judge
from .measure import first_feeds, measure_timing
from .opener import BackendOpener
from .planned import PlanBuilder
from .pricing import table_here
from .run import Run
from .subject import batch_for

MAX_ROUNDS = 6
FIRST_DAMAGE = 0.06
# Of the seconds, what timing single layers may take at most.
TIMING_SHARE = 0.25
# Of a network that takes less, layers are too small a part to be chosen one by one.
SMALLEST_IN_LAUNCHES = 10.0
# How much further than planned the damage may go to find a plan that is worth being built: damages of sums are often too pessimistic.
STRETCHES = (1.0, 2.0, 4.0)
_RACE_S = 1.0
_ENERGY_S = 1.0
_KIND = "spaces"
Call = Callable[[], object]
Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much a search may do: `seconds` in all, samples for repair, for covariances and for probes, whole networks built."""

    seconds: float
    samples: int = 192
    weighed: int = 96
    probes: int = 24
    rounds: int = MAX_ROUNDS


QUICK = Effort(seconds=25.0, samples=32, weighed=16, probes=8, rounds=1)


@dataclass(frozen=True, slots=True)
class Planned:
    """An engine of a plan: predicted before it was built, as a share of the network that the search began with."""

    built: Built
    plan: Plan
    predicted_share: float
    predicted_damage: float
    damage: float
    use: float


@dataclass(slots=True)
class Search:
    """One search. `start` is the fastest engine that is not planned; its precision is what plans get."""

    run: Run
    backend: str
    start: Built
    start_use: float
    data: Dataset
    judge: Judge
    allowance: Allowance
    effort: Effort
    progress: Progress
    goal: Goal = "latency"
    planned: list[Planned] = field(default_factory=list)
    measured: int = 0
    reached: float = 0.0
    began_s: float = field(default_factory=time.monotonic)

    def go(self) -> SearchReport:
        """Build plans into `planned`; what they came to, without the points, which are measured later with all other engines."""
        table = self._costs()
        launch = Variant((), (), self.setting)
        self._time(table, (launch,))
        whole_ms, cost = _middle(self._race(self.start)[0]), table.get(launch)
        launch_ms = 0.0 if cost is None else cost.ms
        if whole_ms < SMALLEST_IN_LAUNCHES * launch_ms:
            self.run.notes.append(f"the network takes {whole_ms:.3f} ms, {launch_ms:.3f} ms of it the launch alone: it was not searched")
            return self._report(None, known=0, is_complete=True)
        model = normalized_model(self.run.subject.path).model
        samples = read_samples(self.data, model, self.effort.samples)
        engine = Engine(0, self.run.cancel)
        network, is_classifier = Network(model), self.run.subject.classified is not None
        reference = record_reference(network, samples.first(self.effort.probes), engine, is_classifier=is_classifier)
        space = self._space(network, samples, reference, engine)
        prices = Prices(space, table, self.setting)
        wanted = tuple(dict.fromkeys(prices.wanted()))
        known = len(wanted) - len(table.missing(iter(wanted)))
        measured = self._time(table, wanted)
        builder = PlanBuilder(self.run, self.backend, space, samples, engine, self.data, self.setting)
        is_complete = self._rounds(whole_ms, prices, builder, reference, engine)
        return self._report(prices, known=known, is_complete=is_complete and measured.left == 0)

    def _report(self, prices: Prices | None, *, known: int, is_complete: bool) -> SearchReport:
        best = min((entry for entry in self.planned if entry.use <= 1), key=lambda entry: entry.predicted_share, default=None)
        return SearchReport(
            plans=1.0 if prices is None else prices.space.plans,
            measured=self.measured,
            known=known,
            seconds=round(time.monotonic() - self.began_s, 1),
            layers=() if best is None or prices is None else layers_of(prices, best.plan),
            is_complete=is_complete,
        )

    @property
    def setting(self) -> Setting:
        return "codes" if self.start.options.precision in {"int8", "mixed"} else "float"

    # --- tables -----------------------------------------------------------------------------------------------------------------------

    def _space(self, network: Network, samples: Samples, reference: Reference, engine: Engine) -> Space:
        cache, request = self.run.workshop.cache, self.run.request
        key = key_of(
            digest_of_file(self.run.subject.path),
            digest_of_tree(None if request.calibration is None else Path(request.calibration)),
            (self.effort.weighed, reference.samples.count),
            digest_of_code(compression_package),
            digest_of_code(search_package),
        )
        found = None if cache is None else cache.take_value(_KIND, key, KeptSpace)
        if found is not None:
            return space_of(network, found, FORMS)
        space = explore(network, samples.first(self.effort.weighed), reference, engine, self._part(0.0, 0.3))
        if cache is not None:
            cache.put_value(_KIND, key, kept(space))
        return space

    def _costs(self) -> CostTable:
        cache = self.run.workshop.cache
        return table_here(None if cache is None else cache.folder, self.backend, self.run.request.threads, with_energy=self.goal == "energy")

    def _time(self, table: CostTable, variants: tuple[Variant, ...]) -> Measured:
        """Time what the table lacks, within the share of the seconds and the number of measurements that a search may take."""
        options = BuildOptions(precision=self.start.options.precision, threads=self.run.request.threads)
        energy = self._energy if self.goal == "energy" else None
        bench = Bench(BackendOpener(self.backend, options), energy, MAX_MEASUREMENTS - self.measured, self.run.cancel)
        found = measure_variants(
            variants, table, bench, seconds=self.effort.seconds * TIMING_SHARE, progress=self._part(self.reached, max(self.reached, 0.4))
        )
        self.measured += found.new
        return found

    def _energy(self, call: Call) -> float | None:
        found = measure_energy(call, seconds=_ENERGY_S, cancel=self.run.cancel).energy
        return None if found is None else found.mean

    # --- rounds -----------------------------------------------------------------------------------------------------------------------

    def _rounds(self, whole_ms: float, prices: Prices, builder: PlanBuilder, reference: Reference, engine: Engine) -> bool:
        """Returns whether no further round was worth it, rather than that time was up."""
        tried: list[Tried] = []
        limit, good, bad = self._first_limit(), None, None
        longest_s = 0.0
        for number in range(1, self.effort.rounds + 1):
            began = time.monotonic()
            if tried and began - self.began_s + longest_s > self.effort.seconds:
                self.run.notes.append(f"the search ended after {number - 1} whole networks: {self.effort.seconds:.0f} s are used up")
                return False
            prediction = corrected(whole_ms, tried, first_gain(whole_ms, prices))
            plan = self._worth_building(prices, prediction, limit, [entry.plan for entry in tried])
            if plan is None:
                self.run.notes.append("no further plan promises more than the noise: none was built")
                return True
            entry = self._try(plan, number, prices, prediction, builder, reference, engine)
            if entry is None:
                return True
            measured_ms = whole_ms * self._share_of(entry.built)
            tried.append(Tried(plan, delta_ms(prices, plan), damage_of(prices.space, plan), measured_ms - whole_ms, entry.damage))
            if entry.use <= 1:
                good = max(good or 0.0, entry.damage)
            else:
                bad = min(bad or float("inf"), entry.damage)
            limit = next_limit(entry.damage, entry.use, self.start_use, good, bad)
            longest_s = max(longest_s, time.monotonic() - began)
            if good is not None and bad is not None and bad < 1.15 * good:
                return True
        return True

    def _worth_building(self, prices: Prices, prediction: Prediction, limit: float, before: list[Plan]) -> Plan | None:
        """The best new plan for damage `limit`, or for more when less promises nothing that could be told from noise."""
        for factor in STRETCHES:
            plan = self._plan(prices, prediction, factor * limit, before)
            if plan is not None and prediction.ms(prices, plan) <= prediction.whole_ms * (1 - MARGIN):
                return plan
        return None

    def _plan(self, prices: Prices, prediction: Prediction, limit: float, before: list[Plan]) -> Plan | None:
        """The best plan for damage `limit` that is new and sure to gain; None when there is none."""
        limits = Limits(limit / prediction.scale, self._weight_limit(prices))
        plan = solve(prices, limits, self.goal, before)
        if plan is None or not plan.is_structural:
            return None
        # A plan's combinations of widths were estimated: they are timed, and the plan is chosen again.
        self._time(prices.table, tuple(prices.wanted_of(plan)))
        again = solve(prices, limits, self.goal, before) or plan
        sure = sifted(prices, again, prediction.whole_ms) if self.goal == "latency" else again
        return sure if sure.is_structural and all(sure.text != other.text for other in before) else None

    def _try(
        self, plan: Plan, number: int, prices: Prices, prediction: Prediction, builder: PlanBuilder, reference: Reference, engine: Engine
    ) -> Planned | None:
        start = 0.4 + 0.6 * (number - 1) / self.effort.rounds
        built, model = builder.build(plan, f"auto-{number}", self._part(start, start + 0.6 / self.effort.rounds))
        if built is None:
            self.run.notes.append(f"the plan {number} could not be built")
            return None
        fidelity = self.judge.fidelities([built], progress=lambda _share, _note: None, cancel=self.run.cancel)[built.name]
        entry = Planned(
            built,
            plan,
            prediction.ms(prices, plan) / prediction.whole_ms,
            prediction.damage(prices.space, plan),
            max(reference.damage(model, engine), 1e-9),
            self.allowance.use(fidelity),
        )
        self.planned.append(entry)
        return entry

    def _first_limit(self) -> float:
        """A damage that should use up most of what the start has left: a guess that the first whole network corrects."""
        room = max(1 - self.start_use, 0.1)
        if self.allowance.agreement is not None:
            return FIRST_DAMAGE * room * (1 - self.allowance.agreement) / 0.075
        if self.allowance.sqnr_db is not None:
            return float(0.5 * room * 10 ** (-self.allowance.sqnr_db / 10))
        return FIRST_DAMAGE * room

    def _weight_limit(self, prices: Prices) -> float | None:
        """Bytes of weights so that the whole file keeps within the budget."""
        most = self.run.request.budget.max_size_bytes
        return None if most is None else most - self.start.engine.size_bytes + prices.total_bytes(Plan())

    def _race(self, *engines: Built) -> tuple[Latency, ...]:
        batch = batch_for(self.run.subject.inputs, self.run.request.batch)
        feeds = first_feeds(self.data, batch)
        under_test = {entry.name: entry.under_test for entry in engines}
        seconds = min(_RACE_S, self.run.request.bench_seconds)
        timed = measure_timing(under_test, dict.fromkeys(under_test, feeds), seconds=seconds, batch=batch, cancel=self.run.cancel)
        return tuple(timed[entry.name].latency_ms for entry in engines)

    def _share_of(self, built: Built) -> float:
        """Its time as a share of the start's, measured in turns."""
        own, start = self._race(built, self.start)
        return _middle(own) / _middle(start)

    def _part(self, start: float, stop: float) -> Progress:
        def report(share: float, note: str) -> None:
            left_s = max(0.0, self.effort.seconds - (time.monotonic() - self.began_s))
            self.reached = max(self.reached, start + (stop - start) * share)
            self.progress(self.reached, f"{note}; at most {left_s:.0f} s more")

        return report


def first_gain(whole_ms: float, prices: Prices) -> float:
    """What parts are of the whole before any plan was built. Their sum cannot exceed it; inside a network caches are colder than alone."""
    parts_ms = prices.total_ms(Plan())
    return min(max(whole_ms / parts_ms, 0.5), 1.1) if parts_ms > 0 else 1.0


def _middle(latency: Latency) -> float:
    return latency.p50 if latency.p50 is not None else latency.mean
