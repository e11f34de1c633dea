from __future__ import annotations

from dataclasses import replace

import pytest
from edgewright.core.errors import Rejected
from edgewright.core.plugins import plugin_names
from edgewright.distillation.objective import _FOR_CLASSES, _OF_TAPS, Term, check_objective, default_objective, objective_from_text
from edgewright.distillation.training import losses


def test_losses_and_weights_are_read():
    assert objective_from_text("hinton=0.5, activation-sequence") == (Term("hinton", 0.5), Term("activation_sequence", 1.0))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("hintn=1", "loss-unknown"),
        ("", "loss-unknown"),
        ("hinton=0", "loss-bad-weight"),
        ("hinton=-1", "loss-bad-weight"),
        ("hinton=nan", "loss-bad-weight"),
        ("hinton=1e9", "loss-bad-weight"),
        ("hinton=x", "loss-bad-weight"),
        ("hinton=1,hinton=2", "loss-bad-weight"),
    ],
)
def test_what_cannot_be_a_loss_is_refused(text, code):
    with pytest.raises(Rejected) as caught:
        objective_from_text(text)

    assert caught.value.code == code
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("text", "has_labels", "has_taps", "classes", "code"),
    [
        ("hinton", True, True, None, "loss-not-applicable"),
        ("labels", True, True, None, "loss-not-applicable"),
        ("labels", False, True, 4, "labels-missing"),
        ("activation_sequence", True, False, 4, "loss-not-applicable"),
    ],
)
def test_a_loss_is_held_against_what_there_is(interface, text, has_labels, has_taps, classes, code):
    with pytest.raises(Rejected) as caught:
        check_objective(objective_from_text(text), replace(interface, classes=classes), has_labels=has_labels, has_taps=has_taps)

    assert caught.value.code == code


@pytest.mark.parametrize("classes", [4, None])
@pytest.mark.parametrize("has_labels", [True, False])
@pytest.mark.parametrize("has_taps", [True, False])
def test_the_default_can_always_be_used(interface, classes, has_labels, has_taps):
    found = replace(interface, classes=classes)

    objective = default_objective(found, has_labels=has_labels, has_taps=has_taps)

    check_objective(objective, found, has_labels=has_labels, has_taps=has_taps)


def test_what_losses_need_is_known_without_pytorch_as_they_say_it_themselves():
    pytest.importorskip("torch", reason="PyTorch is not installed: make torch")
    from edgewright.core.plugins import load_plugin

    needs = {name: load_plugin(losses, name).LOSS.needs for name in plugin_names(losses)}

    assert {name for name, need in needs.items() if need.classes} == _FOR_CLASSES
    assert {name for name, need in needs.items() if need.taps} == _OF_TAPS
    assert {name for name, need in needs.items() if need.labels} == {"labels"}
