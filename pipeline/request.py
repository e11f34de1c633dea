"""What worker children are asked and what `optimize` answers: values that cross the border to a child as JSON."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..core.budget import Budget, Check
from ..core.errors import Reason
from ..core.measurement import Candidate
from ..core.profile import ProfileOrder


class OptimizeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model, its data, and what its owner allows. Paths are absolute; `out` is an existing, empty folder.

    `model` may be coded (``.ewz``). `recipe` is a name: ``auto`` or one that ships with the program; `recipe_file` a recipe of the caller's own,
    which never comes from the wire. `model_name`, `deployment` and `model_version` go into the manifests.
    """

    model: str
    calibration: str | None
    evaluation: str | None
    out: str
    recipe: str = "auto"
    recipe_file: str | None = None
    method: str = "auto"
    repair: bool = True
    budget: Budget = Budget()
    backend: str | None = None
    threads: int = 1
    batch: int = 1
    bench_seconds: float = 2.0
    model_name: str = ""
    deployment: str = ""
    model_version: str = ""


class OptimizeResult(msgspec.Struct, frozen=True, kw_only=True):
    """Every candidate as measured. `chosen` is what may be activated, or, when rejected, the candidate that came nearest.

    `notes` says in words why, and what the stages warned of.
    """

    chosen: Candidate | None
    baseline: Candidate
    candidates: tuple[Candidate, ...]
    verdict: Literal["accepted", "rejected"]
    reasons: tuple[Reason, ...] = ()
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


class ProfileRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`path` is an ONNX file or an engine folder; None = the machine as it is. `root` is where the sensors are looked up."""

    order: ProfileOrder
    path: str | None = None
    backend: str | None = None
    threads: int = 1
    batch: int = 1
    idle_s: float | None = None
    root: str = "/"
