"""Fidelity of built engines against the FP32 model, kept for the next run: the same engine on the same samples answers the same.

The reference is the original model in ONNX Runtime on the CPU, whatever the engine runs on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .. import engines as engines_package
from ..core.dataset import Dataset
from ..core.digest import digest_of_file
from ..core.measurement import Fidelity
from ..engines.base import BuildOptions
from ..engines.model import digest_of_model
from ..engines.ort.providers import CPU
from .build import Built
from .cache import StageCache, digest_of_code, digest_of_tree, key_of
from .ladder import FALLBACK
from .logits import with_logits
from .measure import EngineUnderTest, measure_fidelity
from .subject import Subject
from .underway import measuring

Progress = Callable[[float, str], None]
Cancel = Callable[[], bool]
_KIND = "fidelities"
_REFERENCE = "the original model"


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges engines of one subject on one dataset. `work` is the folder of the run."""

    subject: Subject
    data: Dataset
    measured_on: Literal["evaluation", "calibration"]
    data_path: Path
    cache: StageCache | None
    work: Path

    def fidelities(self, built: Sequence[Built], *, progress: Progress, cancel: Cancel) -> dict[str, Fidelity]:
        """Of each engine by its name; those that were not measured before are measured together."""
        judged = "" if self.cache is None else self._key()
        keys = {} if self.cache is None else {entry.name: key_of(entry.fingerprint, judged) for entry in built}
        known: dict[str, Fidelity] = {}
        for name, key in keys.items():
            if self.cache is not None and (value := self.cache.take_value(_KIND, key, Fidelity)) is not None:
                known[name] = value
        unknown = {entry.name: entry.under_test for entry in built if entry.name not in known}
        if not unknown:
            return known
        exact = next((entry.name for entry in built if entry.name in unknown and self._is_original(entry)), None)
        reference = {} if exact is not None else {_REFERENCE: EngineUnderTest(FALLBACK, self.subject.path, BuildOptions(provider=CPU))}
        with with_logits(self.subject, {**reference, **unknown}, self.work) as engines, measuring(self.work) as at:
            found = measure_fidelity(self.subject, exact or _REFERENCE, engines, self.data, self.measured_on, progress=progress, cancel=cancel, at=at)
        found.pop(_REFERENCE, None)
        if self.cache is not None:
            for name, value in found.items():
                self.cache.put_value(_KIND, keys[name], value)
        return {**known, **found}

    def _key(self) -> str:
        """What every engine is judged by."""
        card = self.subject.path.with_suffix(".toml")
        return key_of(
            digest_of_model(self.subject.path),
            digest_of_tree(card if card.is_file() else None),
            digest_of_tree(self.data_path),
            self.measured_on,
            digest_of_code(engines_package),
        )

    def _is_original(self, built: Built) -> bool:
        """Whether the engine is the original model in ONNX Runtime on the CPU: then it is the reference itself, and need not run twice."""
        runs_exactly = (built.engine.backend, built.engine.provider, built.options.precision) == (FALLBACK, CPU, "fp32")
        return runs_exactly and digest_of_file(built.engine.path) == digest_of_file(self.subject.path)
