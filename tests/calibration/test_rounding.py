from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration.rounding import grid_steps, nearest_codes, output_error, row_scales, second_order_codes


def test_weights_on_a_grid_keep_it_exactly():
    codes = np.random.default_rng(1).integers(-90, 91, (4, 60))
    steps = np.array([0.013, 0.2, 1.0, 7e-4])
    rows = (codes * steps[:, None]).astype(np.float32)

    scales = row_scales(rows, 127)

    assert scales == pytest.approx(steps, rel=1e-4)
    assert np.array_equal(nearest_codes(rows, scales, 127), codes)


def test_weights_on_no_grid_give_the_largest_one_the_largest_code():
    rows = np.random.default_rng(2).normal(size=(5, 80)).astype(np.float32)

    assert np.isnan(grid_steps(rows)).all()
    assert row_scales(rows, 127) == pytest.approx(np.abs(rows).max(1) / 127, rel=1e-6)


def test_a_grid_of_more_levels_than_codes_is_not_kept():
    rows = (np.random.default_rng(3).integers(-255, 256, (2, 200)) * 0.1).astype(np.float32)

    assert row_scales(rows, 127) == pytest.approx(np.abs(rows).max(1) / 127, rel=1e-6)


def test_a_row_of_zeros_has_scale_one_and_codes_zero():
    rows = np.zeros((1, 9), np.float32)

    assert row_scales(rows, 127).tolist() == [1.0]
    assert not nearest_codes(rows, row_scales(rows, 127), 127).any()


def test_second_order_rounding_lowers_the_error_on_correlated_inputs():
    random = np.random.default_rng(4)
    inputs = random.normal(size=(4000, 8)) @ random.normal(size=(8, 48)) + 0.1 * random.normal(size=(4000, 48))
    rows = random.normal(size=(16, 48)).astype(np.float32)
    scales = row_scales(rows, 7)
    moments = np.cov(inputs, rowvar=False)

    nearest = nearest_codes(rows, scales, 7)
    better = second_order_codes(rows, scales, moments, 7)

    errors = [((inputs @ (rows - codes * scales[:, None]).T).var(0)).sum() for codes in (nearest, better)]
    assert errors[1] < 0.5 * errors[0]
    assert output_error(rows, better, scales, moments).sum() == pytest.approx(errors[1], rel=0.01)


def test_without_correlation_second_order_rounding_is_rounding_to_the_nearest():
    rows = np.random.default_rng(5).normal(size=(6, 20)).astype(np.float32)
    scales = row_scales(rows, 127)

    assert np.array_equal(second_order_codes(rows, scales, np.eye(20), 127), nearest_codes(rows, scales, 127))
