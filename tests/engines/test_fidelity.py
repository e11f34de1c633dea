from __future__ import annotations

import math

import numpy as np
import pytest
from edgewright.core.errors import Rejected
from edgewright.engines.fidelity import FidelityMeter
from edgewright.engines.softmax import SoftmaxAxes

REFERENCE = np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 4.0], [5.0, 0.0, 0.0]])
FOUND = np.array([[3.0, 1.0, 0.0], [0.0, 1.0, 2.0], [1.0, 0.0, 4.0], [4.0, 0.0, 0.0]])
LABELS = np.array([0, 1, 1, 0])


def meter_of(reference, found, labels=None, **options):
    meter = FidelityMeter("y", **options)
    meter.add({"y": reference}, {"y": found}, len(reference), labels)
    return meter.fidelity("evaluation")


def test_top1_agreement_and_sqnr_by_hand():
    fidelity = meter_of(REFERENCE, FOUND, LABELS)

    # Right: reference 0, 1, -, 0; found 0, -, -, 0. Σy² = 10 + 5 + 17 + 25, Σ(y − ŷ)² = 0 + 2 + 0 + 1.
    assert fidelity.top1_fp32 == 3 / 4
    assert fidelity.top1 == 2 / 4
    assert fidelity.agreement == 3 / 4
    assert fidelity.sqnr_db == pytest.approx(10 * math.log10(57 / 3))
    assert fidelity.samples == 4
    assert fidelity.outputs["y"].max_abs_error == 1.0


def test_the_order_and_size_of_batches_do_not_matter():
    meter = FidelityMeter("y")
    for rows in ([3], [0, 2], [1]):
        meter.add({"y": REFERENCE[rows]}, {"y": FOUND[rows]}, len(rows), LABELS[rows])

    assert meter.fidelity("evaluation") == meter_of(REFERENCE, FOUND, LABELS)


def test_without_labels_there_is_no_top1():
    fidelity = meter_of(REFERENCE, FOUND)

    assert fidelity.top1 is None
    assert fidelity.top1_fp32 is None
    assert fidelity.agreement == 3 / 4


def test_equal_outputs_have_the_highest_ratio():
    assert meter_of(REFERENCE, REFERENCE.copy()).sqnr_db == 200.0


def test_a_sample_with_nan_is_wrong_and_has_no_ratio():
    found = REFERENCE.copy()
    found[0, 2] = np.nan

    fidelity = meter_of(REFERENCE, found, LABELS)

    assert fidelity.agreement == 3 / 4
    assert fidelity.top1 == 2 / 4
    assert fidelity.sqnr_db is None


def test_a_reference_that_is_not_finite_has_no_ratio():
    reference = REFERENCE.copy()
    reference[0, 2] = np.inf

    assert meter_of(reference, FOUND).sqnr_db is None


def test_half_precision_is_summed_in_double():
    reference, found = np.full((1, 100_000), 100, np.float16), np.full((1, 100_000), 99, np.float16)

    assert meter_of(reference, found).sqnr_db == pytest.approx(40.0)


def test_probabilities_are_compared_as_logits():
    def softmax(logits):
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    centred, other = (values - values.mean(1, keepdims=True) for values in (REFERENCE, FOUND))
    fidelity = meter_of(softmax(REFERENCE), softmax(FOUND), softmax={"y": SoftmaxAxes(1, through_last=False)})

    assert fidelity.sqnr_db == pytest.approx(10 * math.log10((centred**2).sum() / ((centred - other) ** 2).sum()))


def test_probabilities_that_half_precision_rounds_to_zero_are_no_error():
    exact = np.array([[1 - 2e-20, 1e-20, 1e-20]], np.float32)

    fidelity = meter_of(exact.astype(np.float16), exact, softmax={"y": SoftmaxAxes(1, through_last=False)})

    assert fidelity.sqnr_db == 200.0


def test_other_tasks_report_the_worst_output():
    meter = FidelityMeter(None)
    reference = {"boxes": np.full((2, 4), 2.0), "scores": np.full((2, 4), 1.0), "count": np.array([3, 4])}
    found = {"boxes": np.full((2, 4), 2.2), "scores": np.full((2, 4), 1.5), "count": np.array([3, 4])}
    meter.add(reference, found, 2, None)

    fidelity = meter.fidelity("calibration")

    assert fidelity.agreement is None
    assert fidelity.top1 is None
    assert fidelity.outputs["boxes"].sqnr_db == pytest.approx(20.0)
    assert fidelity.outputs["scores"].sqnr_db == pytest.approx(10 * math.log10(4))
    assert fidelity.sqnr_db == fidelity.outputs["scores"].sqnr_db
    assert "count" not in fidelity.outputs
    assert fidelity.measured_on == "calibration"


def test_an_output_of_another_shape_has_no_ratio():
    meter = FidelityMeter(None)
    meter.add({"boxes": np.ones((1, 4))}, {"boxes": np.ones((1, 3))}, 1, None)

    assert meter.fidelity("evaluation").sqnr_db is None


def test_a_label_without_a_class_is_refused():
    with pytest.raises(Rejected) as caught:
        meter_of(REFERENCE, FOUND, np.array([0, 1, 2, 3]))

    assert caught.value.code == "dataset-wrong-labels"
    assert "label 3" in caught.value.message


def test_an_output_without_classes_is_refused():
    meter = FidelityMeter("y")

    with pytest.raises(Rejected) as caught:
        meter.add({"y": np.zeros(3)}, {"y": np.zeros(3)}, 2, None)

    assert caught.value.code == "card-mismatch"
