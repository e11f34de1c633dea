"""A teacher of four classes with random weights, and samples for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from edgewright.core.card import card_beside
from edgewright.core.dataset import open_dataset
from edgewright.distillation.interface import Interface
from edgewright.distillation.request import DistillOptions
from edgewright.distillation.school import School, open_school
from edgewright.engines.model import input_specs, read_model

OpenSchool = Callable[..., AbstractContextManager[School]]


@pytest.fixture
def interface() -> Interface:
    return Interface("input", (3, 8, 8), "logits", (4,), None, 4, None)


@pytest.fixture
def samples(models: ModuleType, tmp_path: Path) -> Path:
    """Eighty samples with labels."""
    labels = np.random.default_rng(5).integers(0, 4, 80)
    path: Path = models.save_samples(tmp_path / "eighty.npz", 80, labels=labels)
    return path


@pytest.fixture
def school_of(samples: Path) -> OpenSchool:
    """``school_of(teacher, data=…, **options)`` opens a school."""

    def make(teacher: Path, data: Path | None = None, **options: Any) -> AbstractContextManager[School]:
        specs = input_specs(read_model(teacher))
        card = card_beside(teacher)
        return open_school(teacher, card, lambda: open_dataset(data or samples, card, specs), DistillOptions(**options))

    return make
