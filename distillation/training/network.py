"""A wiring that learns: its parameters, and how a batch runs through it.

    y = relu( gain · (w * x − mean) / √(var + ε) + shift )        mean and var of the batch while it learns, running ones when judged

For quantisation the batch norm is inside the weights, with running statistics: that is how the student leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..filters import Filter, Filters
from ..wiring import INPUT, Add, Concat, Conv, Linear, Mean, Shrink, Wiring
from .device import array_of, tensor_of, training_device
from .fake_quant import FakeQuant

EPSILON, MOMENTUM = 1e-5, 0.1


@dataclass(frozen=True, slots=True)
class Seen:
    """What a network makes of a batch: its output as samples × numbers, and the activations at its taps, shallow ones first."""

    output: Tensor
    taps: tuple[Tensor, ...]


class Learner:
    """A student in training. `params` are learned, `stats` are the running statistics of batch norms and the ranges of activations."""

    def __init__(self, wiring: Wiring, start: Filters, device: Any = None) -> None:
        """On `device`; None = where training goes on this machine."""
        self.wiring = wiring
        self.device = training_device() if device is None else device
        self.params: dict[str, Tensor] = {}
        self.stats: dict[str, Tensor] = {}
        for op in wiring.weighted:
            self.params[f"{op.name}/weight"] = tensor_of(start[op.name].weight.copy(), self.device)
            self.params[f"{op.name}/shift"] = tensor_of(start[op.name].bias.copy(), self.device)
            if isinstance(op, Conv) and op.is_normalized:
                self.params[f"{op.name}/gain"] = torch.ones(op.channels_out, device=self.device)
                self.stats[f"{op.name}/mean"] = torch.zeros(op.channels_out, device=self.device)
                self.stats[f"{op.name}/var"] = torch.ones(op.channels_out, device=self.device)
        for value in self.params.values():
            value.requires_grad_(True)

    def run(self, batch: Tensor, *, is_learning: bool, quantizer: FakeQuant | None = None) -> Seen:
        """The batch through the network. While it learns, running statistics follow."""
        made = self.tensors(batch, is_learning=is_learning, quantizer=quantizer)
        return Seen(made[self.wiring.output].flatten(1), tuple(made[tap] for tap in self.wiring.taps))

    def tensors(self, batch: Tensor, *, is_learning: bool, quantizer: FakeQuant | None = None) -> dict[str, Tensor]:
        """Every tensor by its name."""
        made: dict[str, Tensor] = {INPUT: batch}
        codes: dict[str, Tensor] = {}
        for op in self.wiring.ops:
            if isinstance(op, Conv | Linear):
                source = made[op.source]
                if quantizer is not None:
                    if op.source not in codes:
                        codes[op.source] = quantizer.activation(op.source, source, self.stats, is_learning=is_learning)
                    source = codes[op.source]
                made[op.name] = self._weighted(op, source, is_learning=is_learning, quantizer=quantizer)
            elif isinstance(op, Add):
                total = made[op.left] + made[op.right]
                made[op.name] = functional.relu(total) if op.is_active else total
            elif isinstance(op, Concat):
                made[op.name] = torch.cat([made[op.left], made[op.right]], 1)
            elif isinstance(op, Shrink):
                made[op.name] = functional.avg_pool2d(made[op.source], op.factor)
            else:
                assert isinstance(op, Mean)
                made[op.name] = made[op.source].mean((2, 3))
        return made

    def _weighted(self, op: Conv | Linear, source: Tensor, *, is_learning: bool, quantizer: FakeQuant | None) -> Tensor:
        if isinstance(op, Linear) or quantizer is not None or not op.is_normalized:
            weight, bias = self._folded(op)
            if quantizer is not None:
                weight = quantizer.weight(weight)
            if isinstance(op, Linear):
                return functional.linear(source, weight, bias)
            made = self._convolved(op, source, weight, bias)
        else:
            made = functional.batch_norm(
                self._convolved(op, source, self.params[f"{op.name}/weight"], None),
                self.stats[f"{op.name}/mean"],
                self.stats[f"{op.name}/var"],
                self.params[f"{op.name}/gain"],
                self.params[f"{op.name}/shift"],
                is_learning,
                MOMENTUM,
                EPSILON,
            )
        return functional.relu(made) if op.is_active else made

    @staticmethod
    def _convolved(op: Conv, source: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = (op.kernel[0] // 2, op.kernel[1] // 2)
        return functional.conv2d(source, weight, bias, op.stride, padding, 1, op.groups)

    def _folded(self, op: Conv | Linear) -> tuple[Tensor, Tensor]:
        """Weights and bias with the batch norm inside them."""
        weight, shift = self.params[f"{op.name}/weight"], self.params[f"{op.name}/shift"]
        if f"{op.name}/gain" not in self.params:
            return weight, shift
        scale = self.params[f"{op.name}/gain"] / torch.sqrt(self.stats[f"{op.name}/var"] + EPSILON)
        return weight * scale[:, None, None, None], shift - self.stats[f"{op.name}/mean"] * scale

    def filters(self) -> Filters:
        """The student as it would leave now."""
        with torch.no_grad():
            folded = {op.name: self._folded(op) for op in self.wiring.weighted}
        return {name: Filter(np.ascontiguousarray(array_of(weight)), np.ascontiguousarray(array_of(bias))) for name, (weight, bias) in folded.items()}

    def set_head(self, head: Filter) -> None:
        """Replace the last operation's weights."""
        with torch.no_grad():
            self.params[f"{self.wiring.output}/weight"].copy_(tensor_of(head.weight, self.device))
            self.params[f"{self.wiring.output}/shift"].copy_(tensor_of(head.bias, self.device))
