"""What worker children are asked and what `optimize` answers: values that cross the border to a child as JSON."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..core.budget import Budget, Check
from ..core.errors import Reason
from ..core.measurement import Candidate
from ..core.profile import ProfileOrder
from ..core.search import SearchReport
from ..engines.fingerprint import Compatibility, Precision


class LostStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A step (see `underway`) that an earlier worker of the same run did not survive, and how that worker ended."""

    name: str
    reason: Reason


class OptimizeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model, its data, and what its owner allows. Paths are absolute; `out` is an existing, empty folder.

    `goal` is what is minimised inside the budget; None = what `choose.goal_of` makes of the budget.
    `search_s` bounds the search of the recipe ``auto``, `quick` makes it a matter of seconds; 0 = no search.
    `model` may be coded (``.ewz``). `recipe` is a name: ``auto`` or one that ships with the program; `recipe_file` a recipe of the caller's own,
    which never comes from the wire. `compatibility` is of the accelerator's plans; ONNX files run anywhere. `model_name`, `deployment` and
    `model_version` go into the manifests. `identity` is the folder of the device's engine key (None = this user's), `cache` where earlier results
    are kept (None = nowhere), `anchor` the trust folder when signed engines may be taken from others. `lost` are steps to leave out, and
    `spent_s` the time that earlier workers took: see `attempts`.
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
    compatibility: Compatibility = "none"
    search_s: float = 0.0
    quick: bool = False
    goal: Literal["latency", "energy", "size"] | None = None
    model_name: str = ""
    deployment: str = ""
    model_version: str = ""
    identity: str | None = None
    cache: str | None = None
    anchor: str | None = None
    lost: tuple[LostStep, ...] = ()
    spent_s: float = 0.0


class OptimizeResult(msgspec.Struct, frozen=True, kw_only=True):
    """Every candidate as measured. `chosen` is what may be activated, or, when rejected, the candidate that came nearest.

    `notes` says in words why, and what the stages warned of; `search` what the recipe ``auto`` looked for and found.
    """

    chosen: Candidate | None
    baseline: Candidate
    candidates: tuple[Candidate, ...]
    verdict: Literal["accepted", "rejected"]
    reasons: tuple[Reason, ...] = ()
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    search: SearchReport | None = None


class BuildRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One engine to build without measuring it. Paths are absolute; `out` does not exist, its parent does."""

    model: str
    out: str
    backend: str | None = None
    precision: Precision = "fp32"
    threads: int = 1
    batch: int = 1
    provider: str | None = None
    workspace_mb: int | None = None
    optimization_level: int | None = None
    calibration_cache: str | None = None
    dla_core: int | None = None
    is_sparse: bool = False
    is_refittable: bool = False
    is_stripped: bool = False
    compatibility: Compatibility = "none"
    model_name: str = ""
    identity: str | None = None
    cache: str | None = None


class BuildResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was built, or taken from the cache."""

    backend: str
    backend_version: str
    provider: str
    path: str
    size_bytes: int
    build_s: float
    build_memory_mb: float
    fingerprint: str
    is_cached: bool


class RefitRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The engine in `folder` with the weights of `model`, as `out`. Paths are absolute; `out` does not exist, its parent does."""

    folder: str
    model: str
    out: str
    identity: str | None = None


class RebuildItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One file to fill, `target`, of `size_bytes`: by a delta from `base`, or by a recipe from the pieces of `sources`. All are paths."""

    target: str
    size_bytes: int
    delta: str | None = None
    base: str | None = None
    recipe: str | None = None
    sources: tuple[str, ...] = ()


class RebuildRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files to fill from what is on the device."""

    items: tuple[RebuildItem, ...]


class InstallRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A version of the agent to install from the files in `wheels` as the environment `out`, which does not exist. `config` is the agent's file."""

    wheels: str
    out: str
    config: str
    version: str


class ProfileRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`path` is an ONNX file or an engine folder; None = the machine as it is. `root` is where the sensors are looked up, `state` the state
    folder whose engines are trusted; None = this user's.
    """

    order: ProfileOrder
    path: str | None = None
    backend: str | None = None
    threads: int = 1
    batch: int = 1
    idle_s: float | None = None
    root: str = "/"
    state: str | None = None
