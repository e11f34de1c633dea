"""Which of the teacher's tensors a student looks at: one for each of its stages.

Rules:
- only what layers hand on counts: a tensor that an activation alone reads is not finished;
- a stage looks at a tensor of its own picture size where there is one, the deepest ones for the deepest stages;
- else at one that lies as deep in the teacher, by multiply-accumulates, as the stage in the student: losses bring both to one size.
"""

from __future__ import annotations

import math
from itertools import groupby

from ..calibration.graph import clip_bounds
from ..compression.network import Network
from .wiring import Wiring

_ACTIVATIONS = frozenset({"LeakyRelu", "PRelu", "HardSwish", "HardSigmoid", "Sigmoid", "Elu", "Gelu", "Tanh"})


def teacher_taps(teacher: Network, wiring: Wiring) -> tuple[str, ...]:
    """One tensor per tap of `wiring`, in order; empty when the teacher has no pictures inside."""
    found = _candidates(teacher)
    if not found:
        return ()
    sizes = [wiring.shapes[tap][1:] for tap in wiring.taps]
    chosen: list[str] = []
    for size, group in groupby(enumerate(sizes), key=lambda entry: entry[1]):
        members = [index for index, _ in group]
        same = [name for name in found if teacher.shapes[name][2:] == size]
        for rank, index in enumerate(members):
            if same:
                chosen.append(same[math.ceil((rank + 1) * len(same) / len(members)) - 1])
            else:
                chosen.append(_as_deep(teacher, found, _depth(wiring, wiring.taps[index])))
    return tuple(chosen)


def _candidates(teacher: Network) -> list[str]:
    """Tensors of samples × channels × height × width that layers hand on, in order."""
    names = []
    for node in teacher.model.graph.node:
        name = node.output[0]
        shape = teacher.shapes.get(name, ())
        if len(shape) != 4 or teacher.graph.constant(name) is not None or math.prod(shape[2:]) == 1:
            continue
        reader = teacher.graph.sole_consumer(name)
        if reader is not None and (reader.op_type in _ACTIVATIONS or clip_bounds(teacher.graph, reader) is not None):
            continue
        names.append(name)
    return names


def _depth(wiring: Wiring, tensor: str) -> float:
    """The share of the student's multiply-accumulates up to `tensor`."""
    done = 0
    for op in wiring.weighted:
        done += wiring.macs_of(op)
        if op.name == tensor:
            break
    return done / max(wiring.macs, 1)


def _as_deep(teacher: Network, found: list[str], depth: float) -> str:
    """The candidate nearest to the share `depth` of the teacher's multiply-accumulates."""
    macs = {layer.output: layer.macs for layer in teacher.layers}
    done, depths = 0, {}
    for node in teacher.model.graph.node:
        done += macs.get(node.output[0], 0)
        depths[node.output[0]] = done / max(teacher.macs, 1)
    return min(found, key=lambda name: abs(depths[name] - depth))
