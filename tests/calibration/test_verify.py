from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration.keep import KeptSamples
from edgewright.calibration.verify import Verifier, decibels


@pytest.fixture
def product(models, tmp_path):
    """y = x·w with weights off by a share of themselves, and samples."""

    def made(error=0.0):
        w = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
        return models.model([models.node("MatMul", ["input", "w"], ["y"])], {"input": ["N", 6]}, {"y": None}, {"w": w * np.float32(1 + error)})

    with KeptSamples(tmp_path, 16) as kept:
        for position, sample in enumerate(np.random.default_rng(1).normal(size=(16, 1, 6)).astype(np.float32)):
            kept.offer({"input": sample}, position)
        yield made, kept


def test_fidelity_is_the_power_of_the_signal_by_that_of_the_error(product):
    made, kept = product

    # An error of a tenth of everything is 20 dB below it.
    assert Verifier(made(), kept, 1).sqnr_db(made(0.1).SerializeToString()) == pytest.approx(20, abs=0.01)


def test_equal_models_are_as_faithful_as_can_be(product):
    made, kept = product

    assert Verifier(made(), kept, 1).sqnr_db(made().SerializeToString()) == 200


def test_kernels_that_lose_more_than_rounding_are_named(product):
    made, kept = product
    verifier = Verifier(made(), kept, 1)

    assert verifier.kernel_fault(made(0.1).SerializeToString(), 20.0) is None
    assert "12.0 dB where float arithmetic gives 20.0 dB" in verifier.kernel_fault(made(0.1).SerializeToString(), 12.0)


@pytest.mark.parametrize(("signal", "noise", "expected"), [(100.0, 1.0, 20.0), (0.0, 0.0, 200.0), (0.0, 1.0, -200.0), (1.0, float("inf"), -200.0)])
def test_decibels(signal, noise, expected):
    assert decibels(signal, noise) == expected
