from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration.normalize import normalized_model
from edgewright.compression.network import Network
from edgewright.distillation.interface import Interface
from edgewright.distillation.spec import spec_from_text
from edgewright.distillation.student import student_wiring
from edgewright.distillation.taps import teacher_taps


@pytest.fixture
def teacher(models, tmp_path):
    """Three stages of 16, 8 and 4 pixels; the second has two layers."""

    def weight(*shape):
        return np.random.default_rng(0).standard_normal(shape).astype(np.float32)

    nodes = [
        models.node("Conv", ["input", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        models.node("Relu", ["c1"], ["r1"]),
        models.node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1], strides=[2, 2]),
        models.node("Relu", ["c2"], ["r2"]),
        models.node("Conv", ["r2", "w3"], ["c3"], pads=[1, 1, 1, 1]),
        models.node("Add", ["c3", "r2"], ["sum"]),
        models.node("Relu", ["sum"], ["r3"]),
        models.node("Conv", ["r3", "w3"], ["c4"], pads=[1, 1, 1, 1], strides=[2, 2]),
        models.node("Relu", ["c4"], ["r4"]),
        models.node("GlobalAveragePool", ["r4"], ["g"]),
        models.node("Flatten", ["g"], ["logits"]),
    ]
    weights = {"w1": weight(4, 3, 3, 3), "w2": weight(6, 4, 3, 3), "w3": weight(6, 6, 3, 3)}
    path = models.save(models.model(nodes, {"input": ["N", 3, 16, 16]}, {"logits": ["N", 6]}, weights), tmp_path / "staged.onnx")
    return Network(normalized_model(path).model)


def taps(teacher, text):
    return teacher_taps(teacher, student_wiring(spec_from_text(text), Interface("input", (3, 16, 16), "logits", (6,), None, None, None)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain:4,plain:8/2,plain:8/2", ("r1", "r3", "r4")),
        ("plain:4,plain:8/2,plain:8,plain:8/2", ("r1", "c3", "r3", "r4")),
        ("plain:8/2", ("r3",)),
    ],
)
def test_a_stage_looks_at_the_deepest_tensor_of_its_own_size(teacher, text, expected):
    assert taps(teacher, text) == expected


def test_a_stage_of_a_size_that_the_teacher_does_not_have_looks_at_one_as_deep(teacher):
    assert taps(teacher, "plain:4/4,plain:8/4")[-1] == "r4"


def test_a_teacher_without_pictures_has_no_taps(models, tmp_path):
    path = models.save(models.model([models.node("Flatten", ["input"], ["y"])], {"input": ["N", 3, 4, 4]}, {"y": ["N", 48]}), tmp_path / "flat.onnx")

    assert (
        teacher_taps(
            Network(normalized_model(path).model),
            student_wiring(spec_from_text("plain:4"), Interface("input", (3, 4, 4), "y", (48,), None, None, None)),
        )
        == ()
    )
