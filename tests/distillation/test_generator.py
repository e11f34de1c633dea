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
    """A device where only launches cost: a millisecond each. Counts what it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def ms(self, wiring):
        self.asked += 1
        return float(wiring.launches)

    def whole_ms(self, model):
        return float(len(model.graph.node))


class CountingStopwatch:
    """Ten milliseconds for a call, one more for each node that has weights."""

    def __init__(self) -> None:
        self.models = []

    def ms(self, model):
        self.models.append(model)
        return 10.0 + sum(node.op_type in {"Conv", "Gemm"} for node in model.graph.node)


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
        return {entry.spec.shrink for entry in entrants(replace(interface, shape=(3, side, side)), Limits(), LaunchCosts(), most=40)}

    assert (shrinks(31), shrinks(32), shrinks(48)) == ({1}, {1, 2}, {1, 2, 3})


def test_no_more_students_are_timed_than_are_asked_for(picture):
    costs = LaunchCosts()

    entrants(picture, Limits(), costs, most=16)

    # Eight blocks at two resolutions: one of each.
    assert costs.asked == 16


def test_where_launches_cost_single_branches_are_what_fits(picture):
    found = entrants(picture, Limits(max_ms=6.0), LaunchCosts(), most=12)

    assert found
    assert all(entry.wiring.launches <= 1.3 * 6 for entry in found)
    assert {entry.spec.stages[-1].block for entry in found} == {"plain"}


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
