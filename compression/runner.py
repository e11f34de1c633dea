"""Runs a recipe: each pass in order, what it requires and ensures checked, what it gains measured; a pass that gains nothing here is undone.

What a pass must bring (`Pass.gain`):
- ``time``: the whole network, measured in turns with what was before, runs as much faster as its MACs promise (`timing.GAIN`);
- ``sparse-time``: the same network, its zeros skipped by a backend that can, runs faster there than dense;
- ``size``: fewer bytes on the wire;
- ``none``: the same outputs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from ..calibration.normalize import normalized_model
from ..core.dataset import Dataset
from ..core.errors import Faulty, Rejected, Unfit
from ..core.measurement import Latency
from .account import Cost, cost_of
from .activations import Engine
from .base import Change, Context, PassResult, Progress, Stopwatch, unchanged
from .fidelity import Reference, record_reference
from .network import Network
from .recipe import Recipe, Step
from .samples import Samples, read_samples
from .timing import NOISE, is_worth_it
from .traits import broken_trait

# Twice as much as rounding differences of reordered sums make.
_SAME_DAMAGE = 1e-6
Race = Callable[[Any, Any], tuple[Latency, Latency]]


@dataclass(frozen=True, slots=True)
class Settings:
    """How to compress. `race` measures two models in turns; None = nothing is timed, and MACs stand for time.

    `sparse_race` measures the second one with sparse kernels; it raises ``sparse-not-measured`` where there are none.
    """

    repair: bool = True
    threads: int = 0
    stopwatch: Stopwatch | None = None
    race: Race | None = None
    sparse_race: Race | None = None


class PassReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one pass did. `damage` and `agreement` are of the whole network so far, on the calibration samples."""

    name: str
    outcome: Literal["kept", "undone", "nothing"]
    reason: str
    seconds: float
    before: Cost
    after: Cost
    latency_before_ms: float | None = None
    latency_after_ms: float | None = None
    damage: float | None = None
    damage_unrepaired: float | None = None
    agreement: float | None = None
    agreement_unrepaired: float | None = None
    is_sparse: bool = False
    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Compressed:
    """The model that came out, and how."""

    model: Any
    original: Network
    passes: tuple[PassReport, ...]
    notes: tuple[str, ...]
    samples: int

    @property
    def changed(self) -> bool:
        return any(report.outcome == "kept" for report in self.passes)

    @property
    def is_sparse(self) -> bool:
        """Whether it is worth building with sparse kernels."""
        return any(report.outcome == "kept" and report.is_sparse for report in self.passes)


def compress(
    path: Path, recipe: Recipe, dataset: Dataset | None, settings: Settings, *, is_classifier: bool, progress: Progress, cancel: Callable[[], bool]
) -> Compressed:
    """Apply `recipe` to the model at `path`, which is only read.

    Raises:
        Rejected: ``data-missing``, or what is wrong with the model, the data or the recipe.
        Unfit: ``pass-unavailable``, ``cancelled``.
        Faulty: ``pass-broken`` when a pass did not hold what it ensures.
    """
    check_steps(recipe, dataset)
    normalized = normalized_model(path)
    original = Network(normalized.model)
    samples = None if dataset is None else read_samples(dataset, normalized.model)
    engine = Engine(settings.threads, cancel)
    reference = None if samples is None else record_reference(original, samples, engine, is_classifier=is_classifier)
    notes = [*normalized.notes, *_data_notes(samples)]
    network, reports = original, []
    cost = cost_of(original.model)
    for index, step in enumerate(recipe.steps):
        start, share = index / len(recipe.steps), 1 / len(recipe.steps)
        context = Context(
            samples,
            engine,
            is_classifier,
            settings.repair,
            settings.stopwatch,
            lambda done, note, start=start, share=share, name=step.name: progress(start + share * done, f"{name}: {note}"),  # type: ignore[misc]
        )
        model, report = _run_step(network, cost, step, context, settings, reference)
        reports.append(report)
        if model is not None:
            network, cost = Network(model), report.after
    progress(1.0, "compressed")
    return Compressed(network.model, original, tuple(reports), tuple(notes), 0 if samples is None else samples.count)


def check_steps(recipe: Recipe, dataset: Dataset | None) -> None:
    """Whether `recipe` can run here with this data.

    Raises:
        Rejected: ``data-missing``.
        Unfit: ``pass-unavailable``.
    """
    for step in recipe.steps:
        if step.work.needs_data and dataset is None:
            raise Rejected("data-missing", f"the pass {step.name} needs calibration data", "Give --calibration, or use a recipe without it")
        reason = step.work.unavailable()
        if reason is not None:
            raise Unfit("pass-unavailable", f"the pass {step.name} cannot run here: {reason}", "Use another recipe")


def _data_notes(samples: Samples | None) -> list[str]:
    if samples is None:
        return []
    notes = []
    if samples.count < samples.offered:
        notes.append(f"{samples.count} of {samples.offered} samples were used")
    if samples.count < 32:
        notes.append(f"only {samples.count} samples: weights stay close to the original's where they say little; a few hundred repair well")
    return notes


def _run_step(
    network: Network, before: Cost, step: Step, context: Context, settings: Settings, reference: Reference | None
) -> tuple[Any | None, PassReport]:
    """The new model, or None when the pass did nothing or was undone."""
    started = time.monotonic()
    for trait in sorted(step.work.requires):
        broken = broken_trait(network, trait)
        if broken is not None:
            raise Faulty("pass-broken", f"the pass {step.name} requires {trait}, but {broken}", "Report this with the model")
    result = _call(network, step, context)
    if not result.modified:
        return None, _report(step, result, "nothing", "; ".join(result.notes), started, before, before)
    made = Network(result.model)
    _check_result(network, made, step)
    after = cost_of(result.model)
    repaired, unrepaired = (_harm(reference, model, context) for model in (result.model, result.unrepaired))
    race, unmeasured = _raced(step, settings, network.model, result.model)
    loss = unmeasured or _loss(step, before, after, race, network, result, context)
    report = _report(step, result, "kept" if loss is None else "undone", loss or "", started, before, after, race, repaired, unrepaired)
    return (result.model if loss is None else None), report


def _call(network: Network, step: Step, context: Context) -> PassResult:
    """What the pass makes; a goal that this model cannot reach is nothing done, with the reason."""
    try:
        result: PassResult = step.work.call(network, step.options, context)
    except Rejected as error:
        if error.code != "ratio-unreachable":
            raise
        return unchanged(network, f"{error.message}. {error.next_step}")
    return result


def _harm(reference: Reference | None, model: Any, context: Context) -> tuple[float | None, float | None]:
    """Damage and agreement of `model`; None where they cannot be told."""
    if reference is None or model is None:
        return None, None
    return reference.damage(model, context.engine), reference.agreement(model, context.engine) if context.is_classifier else None


def _raced(step: Step, settings: Settings, before: Any, after: Any) -> tuple[tuple[Latency, Latency] | None, str | None]:
    """The times before and after a pass that is for time; for sparse kernels, else why there are none."""
    gain = step.work.gain
    if gain == "time" and settings.race is not None:
        return settings.race(before, after), None
    if gain != "sparse-time":
        return None, None
    if settings.sparse_race is None:
        return None, "zeros are worth nothing that was measured"
    try:
        return settings.sparse_race(before, after), None
    except Unfit as error:
        if error.code != "sparse-not-measured":
            raise
        return None, error.message


def _loss(
    step: Step, before: Cost, after: Cost, race: tuple[Latency, Latency] | None, network: Network, result: PassResult, context: Context
) -> str | None:
    """Why the pass gains nothing here; None when it does."""
    if step.work.gain == "size":
        return None if after.wire_bytes < before.wire_bytes else f"{after.wire_bytes} bytes on the wire instead of {before.wire_bytes}"
    if step.work.gain == "none":
        if context.samples is None:
            return None
        own = record_reference(network, context.samples.first(8), context.engine, is_classifier=False)
        return None if own.damage(result.model, context.engine) < _SAME_DAMAGE else "it changed the outputs"
    share = after.macs / before.macs if before.macs else 1.0
    if race is None:
        return None if share < 1 else "no MACs were saved"
    times = _typical(race[1]) / _typical(race[0])
    if step.work.gain == "sparse-time":
        return None if times <= NOISE else f"with sparse kernels it runs in {times:.2f} of the time here"
    if is_worth_it(share, times):
        return None
    return f"{share:.2f} of the MACs run in {times:.2f} of the time here"


def _typical(latency: Latency) -> float:
    """The median: what a slow moment of the machine moves least."""
    return latency.p50 if latency.p50 is not None else latency.mean


def _report(
    step: Step,
    result: PassResult,
    outcome: Literal["kept", "undone", "nothing"],
    reason: str,
    started: float,
    before: Cost,
    after: Cost,
    race: tuple[Latency, Latency] | None = None,
    repaired: tuple[float | None, float | None] = (None, None),
    unrepaired: tuple[float | None, float | None] = (None, None),
) -> PassReport:
    return PassReport(
        name=step.name,
        outcome=outcome,
        reason=reason,
        seconds=round(time.monotonic() - started, 3),
        before=before,
        after=after,
        latency_before_ms=None if race is None else _typical(race[0]),
        latency_after_ms=None if race is None else _typical(race[1]),
        damage=repaired[0],
        damage_unrepaired=unrepaired[0],
        agreement=repaired[1],
        agreement_unrepaired=unrepaired[1],
        is_sparse="sparse-2-4" in step.work.ensures,
        changes=tuple(_words(change) for change in result.changes),
        notes=result.notes,
    )


def _words(change: Change) -> str:
    error = "" if change.error is None else f" (error {100 * change.error:.2f} %)"
    return f"{change.layer}: {change.what}{error}"


def _check_result(before: Network, after: Network, step: Step) -> None:
    """What every pass must leave as it was, and what this one promised.

    Raises:
        Faulty: ``pass-broken``.
    """
    hint = "Report this with the model"
    old, new = before.model.graph, after.model.graph
    for kind in ("input", "output"):
        if [value.name for value in getattr(old, kind)] != [value.name for value in getattr(new, kind)]:
            raise Faulty("pass-broken", f"the pass {step.name} changed the model's {kind}s", hint)
    for layer in after.layers:
        if not np.isfinite(after.weight(layer)).all():
            raise Faulty("pass-broken", f"the pass {step.name} made weights of {layer.name} that are not finite", hint)
    for trait in sorted(step.work.ensures):
        broken = broken_trait(after, trait)
        if broken is not None:
            raise Faulty("pass-broken", f"the pass {step.name} ensures {trait}, but {broken}", hint)
