from __future__ import annotations

from dataclasses import replace

import pytest
from edgewright.compression.timing import RuntimeStopwatch
from edgewright.core.errors import Rejected
from edgewright.core.plugins import plugin_names
from edgewright.distillation import blocks
from edgewright.distillation.costs import MeasuredCosts
from edgewright.distillation.generator import Limits, entrants
from edgewright.distillation.spec import spec_from_text
from edgewright.distillation.student import student_wiring


class LaunchCosts:
    """A device where only launches cost: a millisecond each, or `slowness` of them in a whole student. Counts whom it timed."""

    def __init__(self, slowness=1.0) -> None:
        self.timed = 0
        self.slowness = slowness

    def ms(self, wiring):
        return float(wiring.launches)

    def whole_ms(self, model):
        self.timed += 1
        return self.slowness * sum(node.op_type not in {"Relu", "Flatten", "Identity"} for node in model.graph.node)


class CountingStopwatch:
    """Ten milliseconds for a call, one more for each node that has weights."""

    def __init__(self) -> None:
        self.models = []

    def ms(self, model):
        self.models.append(model)
        return 10.0 + sum(node.op_type in {"Conv", "Gemm"} for node in model.graph.node)


SMALL = Limits(max_bytes=400_000)


@pytest.fixture
def picture(interface):
    return replace(interface, shape=(3, 32, 32))


def test_students_of_every_block_are_offered_within_the_limits(picture):
    limits = Limits(max_macs=6_000_000, max_bytes=400_000)

    found = entrants(picture, limits, LaunchCosts(), most=24)

    assert {entry.spec.stages[-1].block for entry in found} == set(plugin_names(blocks))
    assert all(entry.wiring.macs <= 6_000_000 and entry.wiring.params * 4 <= 400_000 for entry in found)
    assert all(str(spec_from_text(str(entry.spec))) == str(entry.spec) for entry in found)


def test_every_resolution_is_offered_down_to_sixteen_pixels(interface):
    def shrinks(side):
        return {entry.spec.shrink for entry in entrants(replace(interface, shape=(3, side, side)), SMALL, LaunchCosts(), most=40)}

    assert (shrinks(31), shrinks(32), shrinks(48)) == ({1}, {1, 2}, {1, 2, 3})


def test_no_more_students_are_timed_than_are_asked_for(picture):
    costs = LaunchCosts()

    entrants(picture, SMALL, costs, most=16)

    # Eight blocks at two resolutions: one of each.
    assert costs.timed == 16


def test_where_launches_cost_single_branches_are_what_fits(picture):
    found = entrants(picture, Limits(max_ms=6.0), LaunchCosts(), most=12)

    assert found
    assert all(entry.ms == entry.wiring.launches <= 6 for entry in found)
    assert {entry.spec.stages[-1].block for entry in found} == {"plain"}


def test_one_that_is_too_slow_as_a_whole_makes_room_for_the_next(picture):
    # Twelve milliseconds by the table, eighteen as a whole: what has eight launches still fits.
    found = entrants(picture, replace(SMALL, max_ms=12.0), LaunchCosts(slowness=1.5), most=12)

    assert len(found) == 12
    assert {entry.wiring.launches for entry in found} <= {*range(9)}
    assert all(entry.ms == 1.5 * entry.wiring.launches for entry in found)


def test_the_largest_that_fits_is_offered_first(picture):
    found = [
        entry
        for entry in entrants(picture, Limits(max_macs=3_000_000), LaunchCosts(), most=60)
        if (entry.spec.stages[-1].block, entry.spec.shrink) == ("separable", 2)
    ]

    assert [entry.wiring.macs for entry in found] == sorted((entry.wiring.macs for entry in found), reverse=True)


def test_limits_that_nothing_fits_are_refused(picture):
    with pytest.raises(Rejected) as caught:
        entrants(picture, Limits(max_ms=1e-9), LaunchCosts(), most=4)

    assert caught.value.code == "no-student-fits"
    assert "--max-latency-ms" in caught.value.next_step


def test_a_picture_as_output_gets_students_that_end_at_its_size(picture):
    mask = replace(picture, output_shape=(2, 16, 16), classes=None)

    assert all(entry.wiring.shapes[entry.wiring.output] == (2, 16, 16) for entry in entrants(mask, Limits(), LaunchCosts(), most=8))


def test_each_operation_is_timed_once_and_a_call_is_paid_once(interface):
    stopwatch = CountingStopwatch()
    costs = MeasuredCosts(stopwatch)
    wiring = student_wiring(spec_from_text("plain:8,residual:8x3"), interface)

    assert costs.ms(wiring) == pytest.approx(10 + len(list(wiring.weighted)))
    timed = len(stopwatch.models)
    assert costs.ms(wiring) == pytest.approx(10 + len(list(wiring.weighted)))
    assert len(stopwatch.models) == timed == len(costs) < len(wiring.ops) + 1


def test_every_kind_of_operation_can_be_timed_on_this_device(interface):
    wiring = student_wiring(spec_from_text("shrink:2,plain:8,fire:8,bottleneck:8,separable:8"), interface)

    assert MeasuredCosts(RuntimeStopwatch()).ms(wiring) > 0
