from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make torch")

from edgewright.core.errors import Faulty  # noqa: E402
from edgewright.distillation.filters import Filter, first_filters  # noqa: E402
from edgewright.distillation.objective import objective_from_text  # noqa: E402
from edgewright.distillation.spec import spec_from_text  # noqa: E402
from edgewright.distillation.student import student_wiring  # noqa: E402
from edgewright.distillation.training import session  # noqa: E402
from edgewright.distillation.training.session import train_student  # noqa: E402
from edgewright.distillation.training.trainer import TrainSettings  # noqa: E402


def train(school, epochs=1):
    wiring = student_wiring(spec_from_text("plain:8,separable:16/2"), school.interface)
    settings = TrainSettings(objective_from_text("hinton"), "agreement", epochs=epochs)
    with school.lessons(wiring) as lessons:
        return train_student(
            wiring, first_filters(wiring, 0), lessons, school.interface, settings,
            identity="", folder=None, resumes=False, threads=1, progress=lambda _share, _note: None, stop=lambda: False,
        )  # fmt: skip


@pytest.mark.parametrize("batch", ["N", 1, 24])
def test_the_file_says_what_was_trained_for_every_batch_and_behind_a_softmax(school_of, models, tmp_path, batch):
    teacher = models.save(models.classifier(batch=batch, softmax=True), tmp_path / "soft.onnx", models.ARRAY_CARD)

    with school_of(teacher) as school:
        trained = train(school)

    assert 0 <= trained.export_error < 1e-4
    assert [node.op_type for node in trained.model.graph.node][-1] == "Softmax"


def test_a_file_that_says_something_else_never_leaves(school_of, wide_classifier, monkeypatch):
    honest = session.onnx_of

    def forged(wiring, filters, interface):
        last = filters[wiring.output]
        return honest(wiring, {**filters, wiring.output: Filter(last.weight * 1.1, last.bias)}, interface)

    monkeypatch.setattr(session, "onnx_of", forged)

    with school_of(wide_classifier) as school, pytest.raises(Faulty) as caught:
        train(school)

    assert caught.value.code == "export-differs"


def test_the_number_of_threads_is_given_back(school_of, wide_classifier):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with school_of(wide_classifier) as school:
            train(school)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
