"""The search of `optimize`: weigh, time, then rounds (`rounds`) of solving, building whole, measuring and correcting, inside a number of seconds.

What was measured is kept on disk before anything else happens: a run that is cut short goes on from there (`CostTable`, the stage cache).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import compression as compression_package
from ..calibration.normalize import normalized_model
from ..calibration.table import load_table
from ..compression.activations import Engine
from ..compression.fidelity import Reference, record_reference
from ..compression.forms._base import Form
from ..compression.network import Network
from ..compression.samples import read_samples
from ..compression.search.bench import Bench, Measured, measure_variants
from ..compression.search.costs import CostTable
from ..compression.search.damage import FORMS, SPARSE_FORMS, explore
from ..compression.search.keeping import KeptSpace, kept, space_of
from ..compression.search.plan import Plan, Setting, Variant
from ..compression.search.precision import Codes, float_choices, float_gains, offering_float
from ..compression.search.prices import Goal, Prices
from ..compression.search.report import layers_of
from ..compression.search.space import Space
from ..core.dataset import Dataset
from ..core.measurement import Latency
from ..core.search import SearchReport
from ..engines.base import BuildOptions
from ..engines.model import digest_of_model
from ..profiling.energy_run import measure_energy
from .allowance import Allowance
from .build import Built
from .cache import digest_of_code, digest_of_tree, key_of
from .judging import Judge
from .measure import first_feeds, measure_timing
from .opener import BackendOpener
from .planned import PlanBuilder
from .pricing import table_here
from .rounds import Planned, Rounds
from .run import Run
from .skeletons import Skeletons
from .sparse_race import why_no_sparse
from .spending import Spending
from .subject import batch_for
from .underway import measuring

FIRST_DAMAGE = 0.06
# Of the seconds, what timing single layers may take at most, and what weighing layers in float may.
TIMING_SHARE, FLOAT_SHARE = 0.25, 0.1
# A start that has used up less of the allowance has no need of float layers for their fidelity; for their speed they are offered anyway.
FLOAT_FROM_USE = 0.3
# Of a network that takes less, layers are too small a part to be chosen one by one.
SMALLEST_IN_LAUNCHES = 10.0
_RACE_S = 1.0
_ENERGY_S = 1.0
_KIND = "spaces"
Call = Callable[[], object]


@dataclass(slots=True)
class Search:
    """One search. `start` is the fastest engine that is not planned; its precision is what plans get, but for the layers that they leave in float.

    `floats` are the layers that the start leaves in float.
    """

    run: Run
    start: Built
    start_use: float
    floats: frozenset[str]
    data: Dataset
    judge: Judge
    allowance: Allowance
    spending: Spending
    goal: Goal = "latency"
    planned: list[Planned] = field(default_factory=list)

    def go(self) -> SearchReport:
        """Build plans into `planned`; what they came to, without the points, which are measured later with all other engines."""
        table = self._costs()
        launch = Variant((), (), self.setting)
        self._time(table, (launch,))
        whole_ms, cost = self._whole_latency().middle, table.get(launch)
        launch_ms = 0.0 if cost is None else cost.ms
        if whole_ms < SMALLEST_IN_LAUNCHES * launch_ms:
            self.run.notes.append(f"the network takes {whole_ms:.3f} ms, {launch_ms:.3f} ms of it the launch alone: it was not searched")
            return self._report(None, known=0, is_complete=True)
        model, effort = normalized_model(self.run.subject.path).model, self.spending.effort
        samples = read_samples(self.data, model, effort.samples)
        engine = Engine(0, self.run.cancel)
        network, is_classifier = Network(model), self.run.subject.classified is not None
        reference = record_reference(network, samples.first(effort.probes), engine, is_classifier=is_classifier)
        space = self._space(
            network, lambda: explore(network, samples.first(effort.weighed), reference, engine, self.spending.part(0.0, 0.25), self._kinds)
        )
        codes = self._codes()
        if codes is not None:
            space = offering_float(space, self._float_gains(network, codes, reference, engine))
        prices = Prices(space, table, self.setting, frozenset() if codes is None else codes.floats)
        wanted = tuple(dict.fromkeys(prices.wanted()))
        known = len(wanted) - len(table.missing(iter(wanted)))
        measured = self._time(table, wanted)
        if (reason := why_no_sparse(self.backend)) is not None:
            self.run.notes.append(f"2:4 sparsity was no choice: {reason}")
        rounds = Rounds(
            run=self.run,
            prices=prices,
            skeletons=Skeletons(space, self._opener, codes, self.spending, self.run.cancel),
            builder=PlanBuilder(self.run, self.backend, space, samples, engine, self.data, self.setting, self.floats),
            judge=self.judge,
            reference=reference,
            engine=engine,
            allowance=self.allowance,
            spending=self.spending,
            timer=lambda variants: self._time(table, variants),
            whole_ms=whole_ms,
            start_use=self.start_use,
            goal=self.goal,
            weight_limit=self._weight_limit(prices),
            planned=self.planned,
        )
        is_complete = rounds.go(self._first_limit())
        return self._report(prices, known=known, is_complete=is_complete and measured.left == 0)

    def _report(self, prices: Prices | None, *, known: int, is_complete: bool) -> SearchReport:
        best = min((entry for entry in self.planned if entry.expected.use <= 1), key=lambda entry: entry.expected.share, default=None)
        return SearchReport(
            plans=1.0 if prices is None else prices.space.plans,
            measured=self.spending.measured,
            known=known,
            seconds=round(self.spending.spent_s, 1),
            layers=() if best is None or best.plan is None or prices is None else layers_of(prices, best.plan),
            is_complete=is_complete,
        )

    @property
    def backend(self) -> str:
        return self.start.engine.backend

    @property
    def setting(self) -> Setting:
        return "codes" if self.start.options.precision in {"int8", "mixed"} else "float"

    @property
    def _opener(self) -> BackendOpener:
        is_sparse = self._kinds is SPARSE_FORMS
        return BackendOpener(
            self.backend, BuildOptions(precision=self.start.options.precision, threads=self.run.request.threads, is_sparse=is_sparse)
        )

    @property
    def _kinds(self) -> tuple[Form, ...]:
        return SPARSE_FORMS if why_no_sparse(self.backend) is None else FORMS

    # --- tables -----------------------------------------------------------------------------------------------------------------------

    def _space(self, network: Network, made: Callable[[], Space]) -> Space:
        """The space that an earlier run has weighed, or what `made` makes."""
        cache, request, effort = self.run.workshop.cache, self.run.request, self.spending.effort
        key = key_of(
            digest_of_model(self.run.subject.path),
            digest_of_tree(None if request.calibration is None else Path(request.calibration)),
            (effort.weighed, effort.probes),
            [kind.name for kind in self._kinds],
            digest_of_code(compression_package),
        )
        found = None if cache is None else cache.take_value(_KIND, key, KeptSpace)
        if found is not None:
            return space_of(network, found, SPARSE_FORMS)
        space = made()
        if cache is not None:
            cache.put_value(_KIND, key, kept(space))
        return space

    def _codes(self) -> Codes | None:
        """How the start is quantised; None for a start in float."""
        table = next(self.start.folder.glob("ranges.json"), None)
        return None if self.setting == "float" or table is None else Codes(load_table(table), self.floats)

    def _float_gains(self, network: Network, codes: Codes, reference: Reference, engine: Engine) -> dict[str, float]:
        if self.start_use < FLOAT_FROM_USE:
            return dict.fromkeys(float_choices(network, codes), 0.0)
        until_s = self.spending.spent_s + FLOAT_SHARE * self.spending.effort.seconds
        is_time_up = lambda: self.spending.spent_s > until_s
        return dict(float_gains(network, codes, reference, engine, self.spending.part(0.25, 0.3), is_time_up))

    def _costs(self) -> CostTable:
        cache = self.run.workshop.cache
        return table_here(None if cache is None else cache.folder, self.backend, self.run.request.threads, with_energy=self.goal == "energy")

    def _time(self, table: CostTable, variants: Sequence[Variant]) -> Measured:
        """Time what the table lacks, within the share of the seconds and the number of measurements that a search may take."""
        spending = self.spending
        bench = Bench(self._opener, self._energy if self.goal == "energy" else None, spending.layers_left, self.run.cancel)
        progress = spending.part(spending.reached, max(spending.reached, 0.4))
        found = measure_variants(variants, table, bench, seconds=spending.effort.seconds * TIMING_SHARE, progress=progress)
        spending.measured += found.new
        return found

    def _energy(self, call: Call) -> float | None:
        # Idle power is in every plan alike.
        found = measure_energy(call, seconds=_ENERGY_S, idle_s=0.0, cancel=self.run.cancel).energy
        return None if found is None else found.mean

    # --- limits -----------------------------------------------------------------------------------------------------------------------

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

    def _whole_latency(self) -> Latency:
        batch = batch_for(self.run.subject.inputs, self.run.request.batch)
        feeds = {self.start.name: first_feeds(self.data, batch)}
        seconds = min(_RACE_S, self.run.request.bench_seconds)
        with measuring(self.run.out) as at:
            timed = measure_timing({self.start.name: self.start.under_test}, feeds, seconds=seconds, batch=batch, cancel=self.run.cancel, at=at)
        return timed[self.start.name].latency_ms
