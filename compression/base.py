"""The seam of passes: one module of `passes` is one pass, with a module-level ``PASS`` object of the `Pass` protocol.

Rules:
- a pass takes a network and returns a model; it never changes what it was given;
- what it needs of the model stands in `requires`, what it must not find in `forbids`, what holds afterwards in `ensures`: the runner checks all;
- `gain` says what it is for; the runner measures that and undoes a pass that does not bring it here;
- options are a strict struct: a recipe's unknown key or a value out of range is refused before any work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from .activations import Engine
from .network import Network
from .samples import Samples

Trait = Literal["folded", "shared-weights", "sparse-2-4"]
Gain = Literal["none", "time", "sparse-time", "size"]
Progress = Callable[[float, str], None]
# Sensitivities are averages of small numbers: few samples tell them, and each costs a run of the whole network per layer.
MIN_PROBED, MAX_PROBED = 8, 32
_PROBED_MACS = 16e9


class PassOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of a pass's options in a recipe."""


class ChannelOptions(PassOptions, frozen=True, kw_only=True):
    """The share of MACs that shall be left by removing channels; `step` of them go at a time, 0 = what this processor rewards."""

    macs_ratio: float
    step: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.macs_ratio < 1:
            raise ValueError(f"macs_ratio = {self.macs_ratio} is out of range: 0 < macs_ratio < 1")
        if not 0 <= self.step <= 256:
            raise ValueError(f"step = {self.step} is out of range 0..256")


class Stopwatch(Protocol):
    """Times small models on this device."""

    def ms(self, model: Any) -> float:
        """Milliseconds of one inference of `model`, whose shapes are all known at batch 1: the least of several."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """What a pass works with. `samples` None = there is no data; `stopwatch` None = MACs stand for time."""

    samples: Samples | None
    engine: Engine
    is_classifier: bool
    repair: bool
    stopwatch: Stopwatch | None
    progress: Progress

    def data(self) -> Samples:
        """The samples of a pass whose `needs_data` the runner has checked."""
        assert self.samples is not None
        return self.samples

    def probes(self, network: Network) -> Samples:
        """The few samples that sensitivities are measured on: fewer of a larger network."""
        return self.data().first(int(min(max(_PROBED_MACS / max(network.macs, 1), MIN_PROBED), MAX_PROBED)))


@dataclass(frozen=True, slots=True)
class Change:
    """What was done to one layer. `error` is its own, as a share of its output's variance; None when it was not measured."""

    layer: str
    what: str
    error: float | None = None


@dataclass(frozen=True, slots=True)
class PassResult:
    """The new model, or the old one when nothing was `modified`; notes for a person. `unrepaired` is the same change without repair."""

    model: Any
    modified: bool
    unrepaired: Any = None
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()


O_contra = TypeVar("O_contra", bound=PassOptions, contravariant=True)


class Pass(Protocol[O_contra]):
    """One way to make a network smaller."""

    @property
    def options(self) -> type[Any]:
        """The struct of its options."""
        ...

    @property
    def requires(self) -> frozenset[Trait]: ...

    @property
    def forbids(self) -> frozenset[Trait]: ...

    @property
    def ensures(self) -> frozenset[Trait]: ...

    @property
    def gain(self) -> Gain: ...

    @property
    def needs_data(self) -> bool: ...

    def unavailable(self) -> str | None:
        """None when the pass can run here; else what is missing and how to get it."""
        ...

    def call(self, network: Network, options: O_contra, context: Context) -> PassResult:
        """Apply the pass.

        Raises:
            Rejected: the model or the data is at fault.
            Unfit: ``cancelled``, or this device cannot.
        """
        ...


def unchanged(network: Network, *notes: str) -> PassResult:
    """The result of a pass that found nothing to do."""
    return PassResult(network.model, modified=False, notes=notes)
