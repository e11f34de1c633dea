"""Which losses a student learns from, and how much each weighs: parsed and held against what the teacher and the data offer, without PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..core.errors import Rejected
from ..core.nearest import nearest_hint
from ..core.plugins import plugin_names
from .interface import Interface
from .training import losses

MAX_WEIGHT = 1000.0
_EXAMPLE = "Write NAME=WEIGHT,NAME=WEIGHT, for instance hinton=1,activation_sequence=2"
_FOR_CLASSES = frozenset({"labels", "hinton"})
_OF_TAPS = frozenset({"feature_distance", "hints", "correlation", "activation_sequence"})


@dataclass(frozen=True, slots=True)
class Term:
    """One loss and its weight."""

    loss: str
    weight: float


Objective = tuple[Term, ...]


def objective_from_text(text: str) -> Objective:
    """Parse ``hinton=1,labels=0.5``; a name without a weight weighs 1.

    Raises:
        Rejected: ``loss-unknown``, ``loss-bad-weight``.
    """
    known = plugin_names(losses)
    terms: list[Term] = []
    for part in text.split(","):
        name, has_weight, number = part.strip().partition("=")
        name = name.strip().replace("-", "_")
        if name not in known:
            raise Rejected("loss-unknown", f"there is no loss {name[:40]!r}", f"{nearest_hint(name, known)}; there are {', '.join(known)}")
        try:
            weight = float(number) if has_weight else 1.0
        except ValueError:
            weight = math.nan
        if not 0 < weight <= MAX_WEIGHT or name in {term.loss for term in terms}:
            raise Rejected("loss-bad-weight", f"{part.strip()[:60]!r} is no weight above 0 up to {MAX_WEIGHT:g}, each loss once", _EXAMPLE)
        terms.append(Term(name, weight))
    return tuple(terms)


def looks_inside(objective: Objective) -> bool:
    """Whether any loss compares activations, and not outputs alone."""
    return any(term.loss in _OF_TAPS for term in objective)


def default_objective(interface: Interface, *, has_labels: bool, has_taps: bool) -> Objective:
    """What suits most: softened targets and labels for classes, the outputs themselves for anything else; with the activation sequence."""
    first = [Term("hinton", 1.0)] if interface.can_soften else [Term("outputs", 1.0)]
    if interface.can_soften and has_labels:
        first.append(Term("labels", 1.0))
    return (*first, Term("activation_sequence", 2.0)) if has_taps else tuple(first)


def check_objective(objective: Objective, interface: Interface, *, has_labels: bool, has_taps: bool) -> None:
    """Hold the losses against what is there.

    Raises:
        Rejected: ``loss-not-applicable``, ``labels-missing``.
    """
    for term in objective:
        if term.loss in _FOR_CLASSES and not interface.can_soften:
            message = f"the loss {term.loss} is for scores of classes, and {interface.output_name!r} is none by its card"
            raise Rejected("loss-not-applicable", message, 'Use outputs and activation_sequence, or set task.kind = "classification"')
        if term.loss == "labels" and not has_labels:
            raise Rejected("labels-missing", "the loss labels needs labels, and the data has none", "Give --labels FILE, or leave that loss out")
        if term.loss in _OF_TAPS and not has_taps:
            message = f"the loss {term.loss} compares activations, and the teacher has no pictures inside"
            raise Rejected("loss-not-applicable", message, "Use hinton or outputs")
