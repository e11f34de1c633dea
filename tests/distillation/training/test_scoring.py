from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make torch")

from edgewright.distillation.filters import first_filters  # noqa: E402
from edgewright.distillation.spec import spec_from_text  # noqa: E402
from edgewright.distillation.student import student_wiring  # noqa: E402
from edgewright.distillation.training.network import Learner  # noqa: E402
from edgewright.distillation.training.scoring import nearness_of, score_of  # noqa: E402


@pytest.fixture
def student(school_of, wide_classifier):
    """An untrained student of four classes with its lessons."""
    with school_of(wide_classifier) as school:
        wiring = student_wiring(spec_from_text("plain:8"), school.interface)
        with school.lessons(wiring) as lessons:
            yield Learner(wiring, first_filters(wiring, 0)), lessons


def outputs(learner, lessons):
    made = learner.run(torch.from_numpy(lessons.inputs[lessons.held_out]), is_learning=False).output
    return made.detach().numpy().astype(np.float64), lessons.lesson(lessons.held_out).output.astype(np.float64)


def softened(values):
    raised = np.exp(values / 4.0)
    return raised / raised.sum(1, keepdims=True)


def test_nearness_to_classes_is_the_divergence_of_what_both_put_out_softened(student):
    learner, lessons = student
    own, aim = map(softened, outputs(learner, lessons))

    expected = -np.mean((aim * np.log(aim / own)).sum(1))

    assert nearness_of(learner, lessons, lessons.held_out, "agreement") == pytest.approx(expected, rel=1e-4)


def test_nearness_to_anything_else_is_its_signal_to_noise_ratio(student):
    learner, lessons = student
    own, aim = outputs(learner, lessons)

    expected = 10 * np.log10(np.sum(aim**2) / np.sum((own - aim) ** 2))

    assert nearness_of(learner, lessons, lessons.held_out, "sqnr_db") == pytest.approx(expected, abs=1e-4)
    assert score_of(learner, lessons, lessons.held_out, "sqnr_db") == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("measure", ["agreement", "sqnr_db"])
def test_a_student_that_puts_out_no_numbers_is_nowhere_near(student, measure):
    learner, lessons = student
    with torch.no_grad():
        learner.params[f"{learner.wiring.output}/shift"].fill_(float("nan"))

    assert nearness_of(learner, lessons, lessons.held_out, measure) == -np.inf == score_of(learner, lessons, lessons.held_out, measure)
