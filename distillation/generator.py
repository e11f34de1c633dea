"""Makes students for a budget on this device: every combination of block, width, depth and resolution that the limits allow.

Of each block at each resolution the largest that fits is offered first, for capacity is what a student lacks; of two alike the one with fewer
launches, for branches are paid for by launches. What a block really costs here is in the measured table, so that a block of many small operations
gets less width for the same time. Nothing but a training tells whether more pixels or more channels serve better: both are offered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from ..core.errors import Rejected
from ..core.plugins import plugin_names
from . import blocks
from .costs import Costs
from .filters import first_filters
from .interface import Interface
from .onnx_form import onnx_of
from .spec import Stage, StudentSpec
from .student import student_wiring
from .wiring import Wiring

WIDTHS = (8, 12, 16, 24, 32, 48, 64)
DEPTHS = (1, 2, 3)
SHRINKS = (1, 2, 3, 4)
MIN_SIDE, LARGE_SIDE, MIN_SHRUNK_SIDE = 4, 48, 16
BYTES_PER_PARAM = 4
# A sum over operations does not know what a runtime fuses: who is a little too slow by it is still timed as a whole.
SLACK = 1.3


@dataclass(frozen=True, slots=True)
class Limits:
    """What a student may cost: milliseconds at batch 1, bytes of weights, multiply-accumulates. None = not limited."""

    max_ms: float | None = None
    max_bytes: int | None = None
    max_macs: int | None = None


@dataclass(frozen=True, slots=True)
class Entrant:
    """A student that fits the limits, with its time, measured as a whole."""

    spec: StudentSpec
    wiring: Wiring
    ms: float


def entrants(interface: Interface, limits: Limits, costs: Costs, *, most: int) -> tuple[Entrant, ...]:
    """Up to `most` students within `limits`: of every block at every resolution the largest, then the second largest, and so on.

    Raises:
        Rejected: ``no-student-fits``.
    """
    kinds: dict[tuple[str, int], list[Entrant]] = {}
    for spec, wiring in _all(interface):
        if limits.max_macs is not None and wiring.macs > limits.max_macs:
            continue
        if limits.max_bytes is not None and wiring.params * BYTES_PER_PARAM > limits.max_bytes:
            continue
        kinds.setdefault((spec.stages[-1].block, spec.shrink), []).append(Entrant(spec, wiring, 0.0))
    ranked = [_affordable(found, interface, limits, costs) for found in kinds.values()]
    chosen = [entrant for row in zip_longest(*_until(ranked, most)) for entrant in sorted(filter(None, row), key=lambda entry: entry.wiring.launches)]
    if not chosen:
        message = "no student fits the limits on time, size and multiply-accumulates"
        raise Rejected("no-student-fits", message, "Raise --max-latency-ms or --max-size-kb, or name a student: --student SPEC")
    return tuple(chosen[:most])


def _until(ranked: Sequence[Iterator[Entrant]], most: int) -> list[list[Entrant]]:
    """The first ones of every kind, no further than needed for `most` in all: each costs timings."""
    found: list[list[Entrant]] = [[] for _ in ranked]
    running = set(range(len(ranked)))
    while running and sum(map(len, found)) < most:
        for index in sorted(running):
            entrant = next(ranked[index], None)
            if entrant is None:
                running.discard(index)
            else:
                found[index].append(entrant)
    return found


def _affordable(found: list[Entrant], interface: Interface, limits: Limits, costs: Costs) -> Iterator[Entrant]:
    """Those that fit the time when measured as a whole, the largest first; what the table calls much too slow is not built."""
    for entrant in sorted(found, key=lambda entry: (-entry.wiring.macs, entry.wiring.launches)):
        if limits.max_ms is not None and costs.ms(entrant.wiring) > SLACK * limits.max_ms:
            continue
        ms = costs.whole_ms(onnx_of(entrant.wiring, first_filters(entrant.wiring, 0), replace(interface, batch=1)))
        if limits.max_ms is None or ms <= limits.max_ms:
            yield replace(entrant, ms=ms)


def _all(interface: Interface) -> Iterator[tuple[StudentSpec, Wiring]]:
    for block in plugin_names(blocks):
        for shrink in SHRINKS:
            if shrink > 1 and min(interface.shape[1:]) // shrink < MIN_SHRUNK_SIDE:
                break
            for width in WIDTHS:
                for depth in DEPTHS:
                    spec = StudentSpec(_stages(block, width, depth, interface, shrink), shrink)
                    try:
                        yield spec, student_wiring(spec, interface)
                    except Rejected:
                        # A combination that this interface does not allow: a picture output of another size, widths that no group divides.
                        continue


def _stages(block: str, width: int, depth: int, interface: Interface, shrink: int) -> tuple[Stage, ...]:
    """A plain stem, then stages of doubling width at halving resolution, down to `MIN_SIDE`."""
    height, wide = (side // shrink for side in interface.shape[1:])
    first = (2, 2) if min(height, wide) >= LARGE_SIDE else (1, 1)
    stages = [Stage("plain", width, 1, first)]
    height, wide = height // first[0], wide // first[1]
    # A picture as output wants the last stage at its size.
    aim = interface.output_shape[1:] if len(interface.output_shape) == 3 and interface.output_shape[1:] != (1, 1) else None
    while len(stages) < 4 and (max(height, wide) >= 2 * MIN_SIDE if aim is None else (height, wide) != aim and min(height, wide) > 1):
        stride = (2 if height >= MIN_SIDE else 1, 2 if wide >= MIN_SIDE else 1)
        height, wide = -(-height // stride[0]), -(-wide // stride[1])
        stages.append(Stage(block, width * 2 ** len(stages), depth, stride))
    return tuple(stages) if len(stages) > 1 else (*stages, Stage(block, 2 * width, depth))
