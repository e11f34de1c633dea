from __future__ import annotations

import numpy as np
import pytest
from edgewright.core.errors import Unfit
from edgewright.distillation.aims import at_size, leading_channels
from edgewright.distillation.filters import first_filters
from edgewright.distillation.forward_only import fit_forward
from edgewright.distillation.head import solved_head
from edgewright.distillation.onnx_form import onnx_of
from edgewright.distillation.spec import spec_from_text
from edgewright.distillation.student import student_wiring
from edgewright.engines.ort.runner import open_on_cpu


def student_of(school, text):
    wiring = student_wiring(spec_from_text(text), school.interface)
    with school.lessons(wiring, is_forward_only=True) as lessons:
        return wiring, fit_forward(wiring, first_filters(wiring, 0), lessons), lessons.lesson(np.arange(80)).output


def outputs(wiring, filters, school):
    with open_on_cpu(onnx_of(wiring, filters, school.interface).SerializeToString(), "a student", threads=1) as runner:
        return runner.infer({"input": school.samples.inputs})["logits"]


def error(own, aim):
    return float(np.square(own - aim).sum() / np.square(aim - aim.mean(0)).sum())


def test_a_student_of_the_teacher_s_own_shape_becomes_the_teacher(school_of, wide_classifier):
    """Convolutions of 32 and 64 channels and a matrix product: least squares finds what makes the same."""
    with school_of(wide_classifier) as school:
        wiring, filters, aim = student_of(school, "plain:32,plain:64")
        own = outputs(wiring, filters, school)

    assert error(own, aim) < 0.05


@pytest.mark.parametrize(
    "text", ["plain:8,plain:16", "plain:8,separable:24", "residual:8,fire:16", "bottleneck:8,inverted:12/2", "grouped:8,factorized:80/2"]
)
def test_a_student_of_another_shape_comes_nearer_than_chance_features_with_the_same_head(school_of, wide_classifier, text):
    with school_of(wide_classifier) as school:
        wiring, filters, aim = student_of(school, text)
        own = outputs(wiring, filters, school)

    assert np.isfinite(own).all()
    assert error(own, aim) < 0.8


def test_it_needs_no_labels_and_no_classes(school_of, models, tmp_path):
    path = models.save(models.wide_classifier(), tmp_path / "embedding.onnx")
    with school_of(path, models.save_samples(tmp_path / "unlabelled.npz", 80)) as school:
        wiring, filters, aim = student_of(school, "plain:16,plain:32")

        assert school.interface.classes is None
        assert error(outputs(wiring, filters, school), aim) < 0.5


def test_it_can_be_cancelled(school_of, wide_classifier):
    with school_of(wide_classifier) as school:
        wiring = student_wiring(spec_from_text("plain:8"), school.interface)
        with school.lessons(wiring, is_forward_only=True) as lessons, pytest.raises(Unfit, match="cancelled"):
            fit_forward(wiring, first_filters(wiring, 0), lessons, cancel=lambda: True)


def test_leading_channels_are_those_that_tell_the_others():
    random = np.random.default_rng(0)
    base = random.standard_normal((50, 2, 4, 4)).astype(np.float32)
    shadow = 0.5 * base[:, :1] + 0.01 * random.standard_normal((50, 1, 4, 4)).astype(np.float32)
    dead = np.zeros((50, 1, 4, 4), np.float32)

    chosen = leading_channels(np.concatenate([dead, shadow, base * 3], 1), 2)

    assert sorted(chosen) == [2, 3]
    assert sorted(leading_channels(base, 5)) == [0, 1]


def test_pictures_are_brought_to_a_size_by_means_or_by_the_nearest_position():
    picture = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)

    np.testing.assert_array_equal([[2.5, 4.5], [10.5, 12.5]], at_size(picture, (2, 2))[0, 0])
    np.testing.assert_array_equal(picture[0, 0].repeat(2, 0).repeat(2, 1), at_size(picture, (8, 8))[0, 0])
    np.testing.assert_array_equal([[3.0], [4.0 + 7], [0]][:1], at_size(picture[:, :, :2], (1, 1))[0, 0] - 0.5)


def test_a_head_is_the_least_squares_solution():
    random = np.random.default_rng(0)
    features = random.standard_normal((200, 6)).astype(np.float32)
    targets = (features @ random.standard_normal((6, 3)) + [1, 2, 3] + 0.1 * random.standard_normal((200, 3))).astype(np.float32)
    with_one = np.concatenate([features, np.ones((200, 1))], 1)
    expected = np.linalg.lstsq(with_one, targets, rcond=None)[0]

    head = solved_head(features, targets, (3, 6))

    np.testing.assert_allclose(expected[:6].T, head.weight, atol=0.01)
    np.testing.assert_allclose(expected[6], head.bias, atol=0.01)
