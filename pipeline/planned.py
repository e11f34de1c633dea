"""Makes an engine of a plan: the network rebuilt, calibrated, rewritten and built, like every other candidate."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from .. import compression as compression_package
from ..compression.activations import Engine
from ..compression.codec.container import serialized
from ..compression.samples import Samples
from ..compression.search.build import built_whole
from ..compression.search.plan import Plan, Setting
from ..compression.search.skeleton import float_names, is_2_4
from ..compression.search.space import Space
from ..core.dataset import Dataset
from ..core.files import write_atomic
from ..engines.base import Capabilities
from ..engines.discovery import load_backend
from ..engines.model import digest_of_model
from .build import Built, unfinished
from .cache import digest_of_code, digest_of_tree, key_of
from .climb import EXACT, Climb
from .ladder import FALLBACK
from .rewriting import rewrite_here
from .run import Run
from .sources import write_sources

MODEL_NAME = "model.onnx"
_KIND = "plans"
Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class PlanBuilder:
    """Builds plans of one space for one backend. `setting` says whether they are quantised, `floats` are layers that are not in any plan."""

    run: Run
    backend: str
    space: Space
    samples: Samples
    engine: Engine
    data: Dataset
    setting: Setting
    floats: frozenset[str]

    def build(self, plan: Plan, name: str, progress: Progress) -> tuple[Built | None, Any]:
        """The engine of `plan`, None where none could be built, and its model in float."""
        run = self.run
        with unfinished(run.out, name) as work, unfinished(run.out, f"{name}-ranges") as ranges:
            target = work / MODEL_NAME
            model = self._model(plan, target, lambda share, note: progress(0.5 * share, note))
            card = run.subject.path.with_suffix(".toml")
            if card.is_file():
                shutil.copyfile(card, target.with_suffix(".toml"))
            smaller = replace(run.subject, path=target)
            climb = Climb(run, self.backend, smaller, name, is_sparse=any(is_2_4(choice) for choice in plan.forms.values()))
            if self.setting == "float":
                climb.build_exact(0.0, 1.0)
                return (climb.built[0] if climb.built else None), model
            floats = tuple(sorted(float_names(self.space, plan, self.floats)))
            calibrating = lambda share, note: progress(0.5 + 0.45 * share, note)
            sources = write_sources(run, smaller, self.data, ranges, self._capabilities(), calibrating, quantizes=True, floats=floats)
            if sources.calibration is None:
                return None, model
            # A plan is quantised: its rungs in full precision are none of the candidates.
            climb.tried.update({EXACT, f"{FALLBACK}-{EXACT}"})
            quantised = rewritten_file(run, sources.calibration.onnxruntime, work)
            climb.build_others(replace(sources, calibration=replace(sources.calibration, onnxruntime=quantised)), 0.0, 1.0)
        return (climb.built[0] if climb.built else None), model

    def _capabilities(self) -> Capabilities:
        return load_backend(self.backend).capabilities()

    def _model(self, plan: Plan, target: Path, progress: Progress) -> Any:
        """The rebuilt network in the file `target`: from the cache when an earlier run has made it."""
        cache = self.run.workshop.cache
        key = self._key(plan)
        if cache is not None and cache.take_folder(_KIND, key, target.parent) and target.is_file():
            return onnx.load(str(target))
        model = built_whole(self.space, plan, self.samples, self.engine, progress)
        write_atomic(target, serialized(model))
        if cache is not None:
            cache.put(_KIND, key, target.parent)
        return model

    def _key(self, plan: Plan) -> str:
        data = self.run.request.calibration
        levels = sorted((width.makers, width.levels[plan.levels.get(width.makers, 0)]) for width in self.space.widths)
        return key_of(
            digest_of_model(self.run.subject.path),
            digest_of_tree(None if data is None else Path(data)),
            self.samples.count,
            plan.text,
            levels,
            digest_of_code(compression_package),
        )


def rewritten_file(run: Run, quantised: Path, folder: Path) -> Path:
    """`quantised`, or a file in `folder` that computes the same in less time."""
    target = folder / "rewritten.onnx"
    return target if rewrite_here(run, quantised, target) else quantised
