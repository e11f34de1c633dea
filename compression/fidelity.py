"""How far a model's outputs are from the original's, on the samples at hand: what sensitivity and undo are decided by.

    damage of a classifier  = mean over samples of KL( softmax y ‖ softmax ŷ )
    damage of other outputs = Σ (y − ŷ)² / Σ (y − ȳ)²

with y the original's output before a final Softmax and ȳ its mean over the samples; both grow with the square of a small error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..engines.softmax import final_softmax
from .activations import Engine, stream
from .network import Network
from .samples import Samples

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Reference:
    """The original's outputs on the samples; recorded once, compared with often."""

    tensors: tuple[str, ...]
    values: tuple[Array, ...]
    samples: Samples
    is_classifier: bool

    def damage(self, model: Any, engine: Engine) -> float:
        """The mean over outputs of the damage that `model` does."""
        pairs = zip(self.values, _outputs(model, self.tensors, self.samples, engine), strict=True)
        measure = _divergence if self.is_classifier else _relative_error
        return float(np.mean([measure(value, other) for value, other in pairs]))

    def agreement(self, model: Any, engine: Engine) -> float:
        """The share of samples whose argmax of the first output stays; for reports on classifiers."""
        other = _outputs(model, self.tensors[:1], self.samples, engine)[0]
        own = self.values[0]
        return float(np.mean(own.reshape(len(own), -1).argmax(1) == other.reshape(len(other), -1).argmax(1)))


def record_reference(network: Network, samples: Samples, engine: Engine, *, is_classifier: bool) -> Reference:
    """Run the original; `is_classifier` when its outputs are class scores."""
    tensors = logit_tensors(network.model)
    return Reference(tensors, tuple(_outputs(network.model, tensors, samples, engine)), samples, is_classifier)


def _relative_error(value: Array, other: Array) -> float:
    error = float(np.square(value - other, dtype=np.float64).sum())
    return error / max(float(np.square(value - value.mean(0, keepdims=True), dtype=np.float64).sum()), 1e-12)


def _divergence(value: Array, other: Array) -> float:
    own, changed = (_log_softmax(scores.reshape(len(scores), -1).astype(np.float64)) for scores in (value, other))
    return float(np.mean((np.exp(own) * (own - changed)).sum(1)))


def _log_softmax(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    shifted = scores - scores.max(1, keepdims=True)
    logs: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return logs


def logit_tensors(model: Any) -> tuple[str, ...]:
    """The float outputs of `model`; for one behind a Softmax, what enters that."""
    softmax = final_softmax(model)
    producers = {name: node for node in model.graph.node for name in node.output}
    names = []
    for value in model.graph.output:
        name = value.name
        if name in softmax:
            node = producers[name]
            while node.op_type != "Softmax":
                node = producers[node.input[0]]
            name = node.input[0]
        names.append(name)
    return tuple(names)


def _outputs(model: Any, tensors: tuple[str, ...], samples: Samples, engine: Engine) -> list[Array]:
    parts: list[list[Array]] = [[] for _ in tensors]
    for batch, values in zip(samples.batches, stream(model, tensors, samples, engine), strict=True):
        for part, name in zip(parts, tensors, strict=True):
            part.append(values[name][: batch.count] if values[name].ndim else values[name])
    return [np.concatenate(part) for part in parts]
