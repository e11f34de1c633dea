from __future__ import annotations

import numpy as np
import pytest
from edgewright.core.errors import Rejected, Unfit
from edgewright.distillation import lessons as lessons_module
from edgewright.distillation.lessons import Lessons
from edgewright.distillation.spec import spec_from_text
from edgewright.distillation.student import student_wiring
from edgewright.distillation.teacher import Teacher


class CountingRunner:
    """A `Runner` that doubles its input, and counts."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def infer(self, feeds):
        self.calls.append(len(feeds["input"]))
        return {"logits": feeds["input"].reshape(len(feeds["input"]), -1)[:, :4] * 2, "tap": feeds["input"]}

    def close(self) -> None:
        self.calls.append(-1)


@pytest.fixture
def inputs():
    return np.random.default_rng(0).standard_normal((40, 3, 8, 8)).astype(np.float32)


def test_a_teacher_of_fixed_batch_runs_as_often_as_it_must(interface, inputs):
    from dataclasses import replace

    runner = CountingRunner()
    with Teacher(runner, replace(interface, batch=16), "logits", ["tap"]) as teacher:
        lesson = teacher.lesson(inputs)

    assert runner.calls == [16, 16, 16, -1]
    np.testing.assert_array_equal(lesson.taps[0], inputs)
    np.testing.assert_array_equal(lesson.output, inputs.reshape(40, -1)[:, :4] * 2)


def test_activations_are_kept_at_the_student_s_size_where_it_divides_theirs(interface, inputs):
    def tap(size):
        return Teacher(CountingRunner(), interface, "logits", ["tap"], [size]).lesson(inputs).taps[0]

    # Windows of 2 × 4, written out.
    halves = (inputs[:, :, 0::2] + inputs[:, :, 1::2]) / 2
    np.testing.assert_allclose(tap((4, 2)), sum(halves[..., start::4] for start in range(4)) / 4, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(tap((3, 3)), inputs)
    np.testing.assert_array_equal(tap((16, 16)), inputs)


def test_a_student_of_outputs_alone_does_not_ask_what_happens_inside(school_of, wide_classifier):
    with (
        school_of(wide_classifier, losses="hinton,outputs") as school,
        school.lessons(student_wiring(spec_from_text("plain:8"), school.interface)) as lessons,
    ):
        assert lessons.lesson(np.arange(3)).taps == ()


def test_lessons_that_fit_into_memory_are_given_once(interface, inputs):
    runner = CountingRunner()
    lessons = Lessons(inputs, None, Teacher(runner, interface, "logits", ["tap"]), 40)

    assert lessons.keep()
    asked = len(runner.calls)
    lesson = lessons.lesson(np.asarray([5, 2]))

    assert len(runner.calls) == asked
    np.testing.assert_array_equal(lesson.taps[0], inputs[[5, 2]])


def test_lessons_that_do_not_fit_are_given_again(interface, inputs, monkeypatch):
    monkeypatch.setattr(lessons_module, "MAX_KEPT_BYTES", 1000)
    lessons = Lessons(inputs, None, Teacher(CountingRunner(), interface, "logits", ["tap"]), 40)

    assert not lessons.keep()
    np.testing.assert_array_equal(lessons.lesson(np.asarray([5, 2])).taps[0], inputs[[5, 2]])


def test_keeping_lessons_can_be_cancelled(interface, inputs):
    lessons = Lessons(inputs, None, Teacher(CountingRunner(), interface, "logits", []), 40)

    with pytest.raises(Unfit, match="cancelled"):
        lessons.keep(cancel=lambda: True)


def test_no_sample_is_both_learned_and_judged_by(interface, inputs):
    lessons = Lessons(inputs, None, Teacher(CountingRunner(), interface, "logits", []), 40)

    assert len(lessons.held_out) == 5
    assert sorted([*lessons.held_out, *lessons.trained_on]) == list(range(40))


def test_a_teacher_whose_output_is_not_finite_is_refused(interface, inputs):
    inputs[3] = np.nan

    with pytest.raises(Rejected) as caught:
        Teacher(CountingRunner(), interface, "logits", []).lesson(inputs)

    assert caught.value.code == "activation-not-finite"


def test_too_few_samples_are_refused(school_of, wide_classifier, models, tmp_path):
    few = models.save_samples(tmp_path / "few.npz", 31)

    with pytest.raises(Rejected) as caught, school_of(wide_classifier, few):
        pass

    assert caught.value.code == "too-few-samples"
    assert "31" in caught.value.message


@pytest.mark.parametrize("labels", [np.zeros(79, np.int64), np.full(80, 4), np.zeros(80, np.float32), np.full(80, -1)])
def test_labels_that_do_not_match_are_refused(school_of, wide_classifier, tmp_path, labels):
    np.save(tmp_path / "labels.npy", labels)

    with pytest.raises(Rejected) as caught, school_of(wide_classifier, labels=tmp_path / "labels.npy"):
        pass

    assert caught.value.code == "dataset-wrong-labels"
    assert caught.value.next_step


def test_labels_of_their_own_replace_the_data_s(school_of, wide_classifier, tmp_path):
    labels = np.arange(80) % 4
    np.save(tmp_path / "labels.npy", labels)

    with school_of(wide_classifier, labels=tmp_path / "labels.npy") as school:
        np.testing.assert_array_equal(labels, school.samples.labels)


def test_labels_that_the_teacher_itself_gets_wrong_are_doubted(school_of, wide_classifier, tmp_path):
    with school_of(wide_classifier) as school:
        right = school.samples.lesson(np.arange(80)).output.argmax(1)
    np.save(tmp_path / "right.npy", right)
    np.save(tmp_path / "shifted.npy", (right + 1) % 4)

    with school_of(wide_classifier, labels=tmp_path / "right.npy") as trusted, school_of(wide_classifier, labels=tmp_path / "shifted.npy") as doubted:
        assert trusted.notes == ()
        assert [note for note in doubted.notes if "the teacher itself gets 0 % of the labels right, and guessing 1 of 4" in note]


def test_the_real_teacher_says_what_the_model_says_inside_too(school_of, wide_classifier, models):
    import onnx

    with school_of(wide_classifier) as school:
        wiring = student_wiring(spec_from_text("plain:8,plain:8"), school.interface)
        assert school.taps(wiring) == ("r1", "r2")
        with school.lessons(wiring) as lessons:
            lesson = lessons.lesson(np.arange(6))
        inputs = school.samples.inputs[:6]
    inner = models.run(onnx.load(wide_classifier), {"input": inputs})

    np.testing.assert_allclose(inner["logits"], lesson.output, rtol=1e-4, atol=1e-5)
    assert [tap.shape for tap in lesson.taps] == [(6, 32, 8, 8), (6, 64, 8, 8)]


def test_a_checkpoint_s_identity_changes_with_everything_that_it_depends_on(school_of, wide_classifier, tmp_path):
    np.save(tmp_path / "labels.npy", np.arange(80) % 4)
    with school_of(wide_classifier) as one, school_of(wide_classifier, labels=tmp_path / "labels.npy") as labelled:
        with school_of(wide_classifier, losses="hinton") as other:
            found = {one.identity("plain:8", 0), one.identity("plain:9", 0), one.identity("plain:8", 1)}
            found |= {labelled.identity("plain:8", 0), other.identity("plain:8", 0)}
        assert one.identity("plain:8", 0) == one.identity("plain:8", 0)

    assert len(found) == 5
