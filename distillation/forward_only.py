"""Forward-only distillation: a student of any shape in closed form, from unlabelled samples, without gradients and without PyTorch.

The student is walked through in order. Each convolution is solved by least squares from what the student itself feeds it to what the teacher makes at
that depth:

    W = argmin Σ ‖P t − W x‖² + λ ‖W‖²        x the student's activations, t the teacher's, P its leading channels, as many as the student has

- Values behind a Relu are free where they are not positive; the aim follows the prediction there.
- A 1×1 regressor R from the student's channels to the teacher's, followed by a kernel K on the teacher's channels, is the kernel K·R on the
  student's: solving that one directly is both, merged.
- Depthwise convolutions take fixed patterns (the position itself, its neighbourhood, differences across, down and around); what mixes them is solved.
- Where a branch joins another, it aims at what the other leaves. Channels beyond the teacher's stay random features.
- The head is solved towards the teacher's output before a Softmax, whatever it means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ..compression.activations import Positions
from ..compression.moments import Moments, Normal, best_strength
from ..compression.network import Geometry, Layer, Network
from ..compression.repair.rows import predictor, rows_per_sample
from ..compression.repair.targets import within_bounds
from ..compression.samples import Batch
from ..core.errors import Unfit
from ..engines.ort.runner import open_on_cpu
from .aims import at_size, leading_channels
from .filters import Filter, Filters, Floats
from .head import solved_head
from .lessons import Lessons
from .onnx_form import onnx_of_op
from .taps import teacher_taps
from .wiring import INPUT, Add, Concat, Conv, Linear, Op, Wiring, sources_of

MAX_SAMPLES = 500
MAX_HELD_BYTES = 1 << 30
AIM_ROUNDS = 2
_BOUNDS = (0.0, float("inf"))
_BATCH = 64
_PATTERNS = np.asarray(
    [
        [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
        [[1, 2, 1], [2, 4, 2], [1, 2, 1]],
        [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
        [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
        [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
        [[1, 0, -1], [2, 0, -2], [1, 0, -1]],
        [[1, 2, 1], [0, 0, 0], [-1, -2, -1]],
    ],
    np.float32,
)
Progress = Callable[[float, str], None]


def is_depthwise(op: Conv) -> bool:
    return op.groups == op.channels_in == op.channels_out and op.groups > 1


def fitted_taps(teacher: Network, wiring: Wiring) -> tuple[str, ...]:
    """The teacher's tensors that `fit_forward` aims at, one per convolution that is solved, in order: what its lessons must hold."""
    return teacher_taps(teacher, replace(wiring, taps=_ends(wiring)))


def _ends(wiring: Wiring) -> tuple[str, ...]:
    """What solved convolutions help to make, each once, in order."""
    wanted = {_end_of(wiring, op) for op in _solved(wiring)}
    return tuple(op.name for op in wiring.ops if op.name in wanted)


def _solved(wiring: Wiring) -> list[Conv]:
    return [op for op in wiring.weighted if isinstance(op, Conv) and not is_depthwise(op) and op.is_normalized]


def _end_of(wiring: Wiring, op: Conv) -> str:
    """The tensor that `op` helps to make: a sum or a joined tensor, else its own."""
    joined = next((other for other in wiring.ops if isinstance(other, Add | Concat) and op.name in {other.left, other.right}), None)
    return op.name if joined is None else joined.name


@dataclass
class _Walk:
    """The student as far as it is solved, its tensors on all samples, and which of the teacher's channels they aimed at."""

    wiring: Wiring
    lessons: Lessons
    count: int
    filters: dict[str, Filter]
    held: dict[str, Floats] = field(default_factory=dict)
    channels: dict[str, npt.NDArray[np.intp]] = field(default_factory=dict)

    def forget(self, done: int) -> None:
        """Drop what no later operation reads."""
        later = {name for op in self.wiring.ops[done + 1 :] for name in sources_of(op)}
        for name in [name for name in self.held if name not in later]:
            del self.held[name]


def fit_forward(
    wiring: Wiring,
    start: Filters,
    lessons: Lessons,
    *,
    threads: int = 1,
    progress: Progress = lambda _share, _note: None,
    cancel: Callable[[], bool] = lambda: False,
) -> Filters:
    """Solve the student; the teacher of `lessons` has the taps of `fitted_taps`. `start` holds the filters of what is not solved.

    Raises:
        Unfit: ``cancelled``.
    """
    largest = max(int(np.prod(shape)) for shape in wiring.shapes.values()) * 4
    count = min(len(lessons.inputs), MAX_SAMPLES, max(1, MAX_HELD_BYTES // (4 * largest)))
    walk = _Walk(wiring, lessons, count, dict(start), {INPUT: lessons.inputs[:count]})
    ends = _ends(wiring)
    aims = {op.name: ends.index(_end_of(wiring, op)) for op in _solved(wiring)}
    for index, op in enumerate(wiring.ops):
        if cancel():
            raise Unfit("cancelled", "the distillation was cancelled", "Start it again")
        progress(index / len(wiring.ops), f"fitting {op.name}")
        if isinstance(op, Linear):
            walk.filters[op.name] = solved_head(walk.held[op.source], lessons.lesson(np.arange(count)).output, (op.outputs, op.inputs))
        elif isinstance(op, Conv) and is_depthwise(op):
            walk.filters[op.name] = _patterned(op)
        elif isinstance(op, Conv) and op.name in aims:
            walk.filters[op.name] = _solve(walk, op, aims[op.name])
        elif isinstance(op, Conv):
            walk.filters[op.name] = _picture_head(walk, op)
        walk.held[op.name] = _run(op, walk, threads)
        walk.forget(index)
    return walk.filters


def _solve(walk: _Walk, op: Conv, tap: int) -> Filter:
    """The filter of one convolution, by least squares."""
    end = _end_of(walk.wiring, op)
    _, height, width = walk.wiring.shapes[end]
    aim = at_size(_tap_of(walk.lessons, tap, walk.count), (height, width))
    joined = next((other for other in walk.wiring.ops if other.name == end and isinstance(other, Add | Concat)), None)
    total = walk.wiring.shapes[end][0]
    chosen = walk.channels[end] = _channels(walk, joined, end, aim, total)
    if isinstance(joined, Concat) and joined.right == op.name:
        chosen = chosen[total - op.channels_out :]
    chosen = chosen[: op.channels_out]
    if op.groups > 1:
        chosen = np.resize(chosen, op.channels_out)
    if len(chosen) == 0:
        return walk.filters[op.name]
    beside = None
    if isinstance(joined, Add):
        other = joined.left if joined.right == op.name else joined.right
        beside = walk.held.get(other)
        beside = None if beside is None else beside[:, : len(chosen)]
    is_active = op.is_active or (isinstance(joined, Add) and joined.is_active)
    return _least_squares(walk, op, aim[:, chosen], beside, is_active=is_active)


def _channels(walk: _Walk, joined: Op | None, end: str, aim: Floats, total: int) -> npt.NDArray[np.intp]:
    """The teacher's channels that the tensor `end` aims at. A sum keeps those that its shortcut carries, in their order."""
    if end in walk.channels:
        return walk.channels[end]
    carried = [walk.channels[side] for side in sources_of(joined) if side in walk.channels] if isinstance(joined, Add) else []
    if carried and carried[0].max(initial=-1) < aim.shape[1]:
        return carried[0]
    return np.sort(leading_channels(aim, total))


def _least_squares(walk: _Walk, op: Conv, aim: Floats, beside: Floats | None, *, is_active: bool) -> Filter:
    layer = _layer(walk.wiring, replace(op, channels_out=aim.shape[1]))
    positions = Positions.draw(layer, Batch(0, walk.count, {}), rows_per_sample(layer, walk.count))
    x = positions.inputs(layer, walk.held[op.source], walk.count)
    t = positions.outputs(layer, aim, walk.count)
    b = np.zeros_like(t) if beside is None else positions.outputs(layer, beside, walk.count)
    held_out = np.repeat(np.arange(walk.count) % 4 == 3, len(x) // walk.count)
    prior = np.zeros((op.groups, aim.shape[1] // op.groups, layer.geometry.fan_in))
    # The best strength decides between more and less shrinking to zero; zero itself is no filter.
    strength = min(best_strength(_moments(x, t - b, ~held_out), _moments(x, t - b, held_out), prior), 1.0) if held_out.any() else 1e-2
    every = np.ones(len(x), bool)
    normal = _moments(x, t - b, every)
    weight = normal.solve(prior, strength)
    for _ in range(AIM_ROUNDS if is_active else 0):
        made = predictor(weight, normal.bias(weight))(x) + b
        normal = _moments(x, within_bounds(t, made, _BOUNDS) - b, every)
        weight = normal.solve(prior, strength)
    solved = Filter(weight.reshape(aim.shape[1], -1, *op.kernel).astype(np.float32), normal.bias(weight).astype(np.float32))
    return _padded(solved, walk.filters[op.name])


def _moments(x: Floats, t: Floats, rows: npt.NDArray[np.bool_]) -> Normal:
    moments = Moments()
    moments.add(x[rows], t[rows])
    return moments.normal()


def _padded(solved: Filter, start: Filter) -> Filter:
    """The solved channels first, then what `start` has beyond them."""
    count = len(solved.bias)
    return Filter(np.concatenate([solved.weight, start.weight[count:]]), np.concatenate([solved.bias, start.bias[count:]]))


def _picture_head(walk: _Walk, op: Conv) -> Filter:
    """The head of a picture output: 1×1 towards the teacher's output."""
    made = walk.held[op.source]
    aim = walk.lessons.lesson(np.arange(walk.count)).output.reshape(walk.count, op.channels_out, -1)
    rows = np.moveaxis(made, 1, -1).reshape(-1, op.channels_in)
    return solved_head(rows, np.moveaxis(aim, 1, -1).reshape(-1, op.channels_out), (op.channels_out, op.channels_in, *op.kernel))


def _patterned(op: Conv) -> Filter:
    """Patterns in turn, each of unit length; kernels of other sizes keep the position itself."""
    if op.kernel == (3, 3):
        patterns = _PATTERNS / np.sqrt(np.square(_PATTERNS).sum((1, 2), keepdims=True))
    else:
        patterns = np.zeros((1, *op.kernel), np.float32)
        patterns[0, op.kernel[0] // 2, op.kernel[1] // 2] = 1
    weight = patterns[np.arange(op.channels_out) % len(patterns)]
    return Filter(np.ascontiguousarray(weight[:, None], np.float32), np.zeros(op.channels_out, np.float32))


def _tap_of(lessons: Lessons, tap: int, count: int) -> Floats:
    parts = [lessons.lesson(np.arange(start, min(start + _BATCH, count))).taps[tap] for start in range(0, count, _BATCH)]
    return np.concatenate(parts)


def _layer(wiring: Wiring, op: Conv) -> Layer:
    pads = (op.kernel[0] // 2, op.kernel[1] // 2)
    geometry = Geometry(op.channels_in, op.channels_out, op.groups, op.kernel, op.stride, (1, 1), pads * 2)
    return Layer(op.name, "Conv", op.source, op.name, "", None, geometry, wiring.shapes[op.source][1:])


def _run(op: Op, walk: _Walk, threads: int) -> Floats:
    """What `op` makes of all samples."""
    names = list(dict.fromkeys(sources_of(op)))
    model = onnx_of_op(op, walk.wiring.shapes, walk.filters)
    with open_on_cpu(model.SerializeToString(), "a layer of the student", threads=threads) as runner:
        parts = [runner.infer({name: walk.held[name][start : start + _BATCH] for name in names})[op.name] for start in range(0, walk.count, _BATCH)]
    return np.concatenate(parts)
