"""Wirings, and the conformance of every block."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from edgewright.core.errors import Rejected
from edgewright.core.plugins import load_plugin, plugin_names
from edgewright.distillation import blocks
from edgewright.distillation.blocks._base import Builder
from edgewright.distillation.filters import filter_shape, first_filters
from edgewright.distillation.interface import Interface
from edgewright.distillation.onnx_form import onnx_of
from edgewright.distillation.spec import spec_from_text
from edgewright.distillation.student import student_wiring
from edgewright.distillation.wiring import INPUT

BLOCKS = plugin_names(blocks)


def outputs(model, value):
    return onnx.reference.ReferenceEvaluator(model).run(None, {"input": value})[0]


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (2, 1)])
def test_a_block_makes_the_width_at_the_stride(name, stride):
    builder = Builder((8, 12, 10))

    made = load_plugin(blocks, name).BLOCK.build(builder, INPUT, 16, stride)

    assert builder.shapes[made] == (16, 12 // stride[0], 10 // stride[1])
    assert builder.ops[-1].name == made


@pytest.mark.parametrize("name", BLOCKS)
def test_a_student_of_every_block_is_a_valid_model_of_the_shapes_that_its_wiring_says(name, interface):
    wiring = student_wiring(spec_from_text(f"plain:8,{name}:16x2/2"), interface)
    model = onnx_of(wiring, first_filters(wiring, 0), interface)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    shapes = {value.name: tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)[1:] for value in inferred.graph.value_info}

    for tap in wiring.taps:
        assert shapes[tap] == wiring.shapes[tap]
    assert outputs(model, np.zeros((2, 3, 8, 8), np.float32)).shape == (2, 4)


def test_multiply_accumulates_and_parameters_are_counted_right(interface):
    wiring = student_wiring(spec_from_text("plain:8,separable:16/2"), interface)

    assert wiring.macs == 8 * 8 * 8 * 27 + 4 * 4 * 8 * 9 + 4 * 4 * 16 * 8 + 16 * 4
    assert wiring.params == 8 * 28 + 8 * 10 + 16 * 9 + 4 * 17
    assert wiring.params == sum(int(np.prod(filter_shape(op))) + filter_shape(op)[0] for op in wiring.weighted)


def test_a_student_takes_the_place_of_a_teacher_that_ends_in_a_softmax(interface):
    wiring = student_wiring(spec_from_text("plain:8"), interface)
    model = onnx_of(wiring, first_filters(wiring, 0), replace(interface, softmax_axis=1, batch=2))
    value = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)

    np.testing.assert_allclose(1, outputs(model, value).sum(1), rtol=1e-5)
    assert [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim] == [2, 3, 8, 8]


def test_an_output_of_another_rank_keeps_its_shape():
    boxes = Interface("input", (3, 8, 8), "boxes", (40, 4), None, None, None)
    wiring = student_wiring(spec_from_text("plain:8"), boxes)

    assert outputs(onnx_of(wiring, first_filters(wiring, 0), boxes), np.zeros((2, 3, 8, 8), np.float32)).shape == (2, 40, 4)


def test_a_picture_as_output_is_made_where_the_student_ends_at_its_size():
    mask = Interface("input", (3, 8, 8), "mask", (2, 4, 4), None, None, None)
    wiring = student_wiring(spec_from_text("plain:8/2"), mask)

    assert wiring.shapes[wiring.output] == (2, 4, 4)
    with pytest.raises(Rejected) as caught:
        student_wiring(spec_from_text("plain:8"), mask)
    assert caught.value.code == "student-spec-unbuildable"


@pytest.mark.parametrize("text", ["grouped:6", "shrink:8,plain:8,plain:8/4,shrinkless", "plain:2048x16,plain:2048x16"])
def test_a_student_that_cannot_be_built_is_refused(text, interface):
    with pytest.raises(Rejected) as caught:
        student_wiring(spec_from_text(text), replace(interface, shape=(3, 7, 7)))

    assert caught.value.code in {"student-spec-unbuildable", "student-spec-bad"}
    assert caught.value.next_step


def test_a_picture_that_is_shrunk_to_nothing_is_refused(interface):
    with pytest.raises(Rejected, match="nothing is left") as caught:
        student_wiring(spec_from_text("shrink:8,plain:8"), replace(interface, shape=(3, 7, 7)))

    assert caught.value.code == "student-spec-unbuildable"


def test_equal_seeds_begin_with_equal_filters(interface):
    wiring = student_wiring(spec_from_text("plain:8"), interface)
    first, again, other = (first_filters(wiring, seed) for seed in (3, 3, 4))

    for name, filter_ in first.items():
        np.testing.assert_array_equal(filter_.weight, again[name].weight)
        assert not np.array_equal(filter_.weight, other[name].weight)
