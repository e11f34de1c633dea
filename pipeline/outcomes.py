"""What a search came to, kept for the next run: an identical deployment takes the engine that was found, and does not search again.

Rules:
- the key holds all that could lead to another outcome: the engines to be beaten (with them the device), the data, the budget, the effort, the code;
- a search that an error or a kill has ended is not kept: the next run goes on from its tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from .. import calibration as calibration_package
from .. import compression as compression_package
from .. import pipeline as pipeline_package
from ..core.search import SearchReport
from ..engines.base import EngineFile
from .build import Built, build_options, unfinished
from .cache import digest_of_code, digest_of_tree, key_of
from .rounds import Expected, Planned
from .run import Run
from .spending import Effort

_KIND = "searches"


class KeptEngine(msgspec.Struct, frozen=True):
    """The fastest engine that was found and is allowed; it lies in the cache of engines."""

    name: str
    fingerprint: str
    expected: Expected


class Outcome(msgspec.Struct, frozen=True):
    """One search without its points. `engine` None = nothing that was found is better than the network `start` that it began with."""

    start: str
    report: SearchReport
    engine: KeptEngine | None


def outcome_key(run: Run, before: Sequence[Built], effort: Effort) -> str:
    """The key of a search for something better than `before`."""
    request, card = run.request, run.subject.path.with_suffix(".toml")
    data = [digest_of_tree(None if path is None else Path(path)) for path in (request.calibration, request.evaluation)]
    packages = (calibration_package, compression_package, pipeline_package)
    return key_of(
        # Rewritten engines follow from the others.
        sorted(entry.fingerprint for entry in before if entry.name != "int8-tuned"),
        digest_of_tree(card if card.is_file() else None),
        data,
        request.budget,
        (request.method, request.repair, request.batch, request.goal),
        (effort.seconds, effort.samples, effort.weighed, effort.probes, effort.rounds),
        [digest_of_code(package) for package in packages],
    )


def keep_outcome(run: Run, key: str, outcome: Outcome) -> None:
    if run.workshop.cache is not None:
        run.workshop.cache.put_value(_KIND, key, outcome)


def take_outcome(run: Run, key: str) -> tuple[Outcome, tuple[Planned, ...]] | None:
    """An earlier search's outcome with its engine, copied to this run's folder; None when there is none, or its engine is gone."""
    cache = run.workshop.cache
    outcome = None if cache is None else cache.take_value(_KIND, key, Outcome)
    if outcome is None:
        return None
    if outcome.engine is None:
        return outcome, ()
    built = _taken(run, outcome.engine)
    return None if built is None else (outcome, (Planned(built, outcome.engine.expected),))


def _taken(run: Run, engine: KeptEngine) -> Built | None:
    workshop, target = run.workshop, run.out / engine.name
    assert workshop.cache is not None
    with unfinished(run.out, engine.name) as work:
        manifest = workshop.cache.take_engine(engine.fingerprint, work, workshop.trusted)
        if manifest is None or manifest.key is None:
            return None
        work.rename(target)
    size_bytes = sum(entry.size_bytes for entry in manifest.files.values())
    file = EngineFile(target / manifest.engine, manifest.backend, manifest.backend_version, manifest.provider, size_bytes)
    options = build_options(run.subject, precision=manifest.precision, threads=run.request.threads, batch=run.request.batch)
    return Built(engine.name, target, file, options, manifest.key, 0.0, 0.0, is_cached=True)
