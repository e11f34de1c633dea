from __future__ import annotations

import numpy as np
import pytest
from edgewright.core.errors import Rejected
from edgewright.core.tensors import TensorSpec
from edgewright.pipeline.subject import batch_for, open_subject


def test_the_card_says_which_output_classifies(tiny_classifier):
    subject = open_subject(tiny_classifier)

    assert subject.classified == "logits"
    assert subject.fixed_batch is None
    assert subject.softmax == {}


def test_without_a_card_nothing_classifies(models, tmp_path):
    assert open_subject(models.save(models.classifier(), tmp_path / "m.onnx")).classified is None


def test_a_prescribed_batch_is_known(models, tmp_path):
    assert open_subject(models.save(models.classifier(batch=4), tmp_path / "m.onnx")).fixed_batch == 4


def test_a_final_softmax_is_found(models, tmp_path):
    assert set(open_subject(models.save(models.classifier(softmax=True), tmp_path / "m.onnx")).softmax) == {"logits"}


def test_a_model_without_inputs_is_refused(models, tmp_path):
    proto = models.model([models.node("Neg", ["c"], ["y"])], {}, {"y": None}, {"c": np.ones(3, np.float32)})

    with pytest.raises(Rejected) as caught:
        open_subject(models.save(proto, tmp_path / "m.onnx"))

    assert caught.value.code == "model-unreadable"


def test_a_card_for_another_model_is_refused(models, tmp_path):
    with pytest.raises(Rejected) as caught:
        open_subject(models.save(models.classifier(), tmp_path / "m.onnx", '[inputs.inptu]\nkind = "array"\n'))

    assert caught.value.code == "card-mismatch"


@pytest.mark.parametrize(("axis", "wanted", "batch"), [(None, 1, 1), (None, 5, 5), (4, 1, 4), (4, 4, 4)])
def test_the_batch_is_what_was_asked_for_or_what_the_model_prescribes(axis, wanted, batch):
    assert batch_for((TensorSpec("x", "float32", (axis, 3)),), wanted) == batch


def test_another_batch_than_the_models_is_refused():
    with pytest.raises(Rejected) as caught:
        batch_for((TensorSpec("x", "float32", (1, 3)),), 8)

    assert caught.value.code == "batch-fixed"
