from __future__ import annotations

import pytest
from edgewright.calibration.normalize import normalized_model
from edgewright.compression.network import Network
from edgewright.core.card import ModelCard, TaskCard, card_beside
from edgewright.core.errors import Rejected
from edgewright.distillation.interface import Interface, interface_of


def interface(path, card=None, output=None):
    model = normalized_model(path).model
    return interface_of(model, card or card_beside(path), Network(model).shapes, output)


def test_a_classifier_s_student_has_its_input_and_its_output(wide_classifier):
    assert interface(wide_classifier) == Interface("input", (3, 8, 8), "logits", (4,), None, 4, None)


def test_a_softmax_and_a_fixed_batch_are_kept(models, tmp_path):
    path = models.save(models.classifier(batch=2, softmax=True), tmp_path / "soft.onnx", models.ARRAY_CARD)

    found = interface(path)

    assert (found.batch, found.softmax_axis, found.classes) == (2, 1, 4)


def test_a_teacher_with_several_outputs_and_no_card_is_refused(two_headed):
    with pytest.raises(Rejected) as caught:
        interface(two_headed)

    assert caught.value.code == "teacher-outputs"
    assert "--output" in caught.value.next_step


def test_one_of_several_outputs_can_be_named_by_an_option_or_by_the_card(two_headed):
    by_option = interface(two_headed, output="boxes")
    by_card = interface(two_headed, ModelCard(task=TaskCard(output="boxes")))

    assert by_option == by_card
    assert (by_option.output_name, by_option.output_shape, by_option.can_soften) == ("boxes", (6, 8, 8), False)


def test_an_output_that_is_not_there_is_refused_with_the_nearest(wide_classifier):
    with pytest.raises(Rejected) as caught:
        interface(wide_classifier, output="logit")

    assert (caught.value.code, "logits" in caught.value.next_step) == ("teacher-outputs", True)


def test_an_input_that_is_no_picture_is_refused(models, tmp_path):
    nodes = [models.node("Relu", ["input"], ["logits"])]
    path = models.save(models.model(nodes, {"input": ["N", 7]}, {"logits": ["N", 7]}), tmp_path / "flat.onnx")

    with pytest.raises(Rejected) as caught:
        interface(path)

    assert caught.value.code == "teacher-input"
