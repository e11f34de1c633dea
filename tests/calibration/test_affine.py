from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration.affine import AffineStatistics


def correction(teacher, student, bias=None, **how):
    statistics = AffineStatistics()
    for first in range(0, len(teacher), 8):
        statistics.add(teacher[first : first + 8].astype(np.float32), student[first : first + 8].astype(np.float32))
    return statistics.correction(np.zeros(teacher.shape[1]) if bias is None else bias, **how)


def test_a_gain_and_a_bias_are_found_again():
    student = np.random.default_rng(1).normal(size=(64, 3, 10, 10))
    gain, bias = np.array([1.05, 0.97, 1.0]), np.array([0.5, -2.0, 0.0])

    found = correction(student * gain[:, None, None] + bias[:, None, None], student)

    assert found.gain == pytest.approx(gain, abs=1e-4)
    assert found.bias == pytest.approx(bias, abs=1e-3)


def test_what_scatter_between_samples_explains_is_not_corrected():
    random = np.random.default_rng(2)
    student = random.normal(size=(32, 200))
    teacher = student + random.normal(size=student.shape)

    found = correction(teacher, student)

    # The mean of 32 errors scatters by 0.18: plain averaging would add a bias of that size to every channel.
    assert np.abs((teacher - student).mean(0)).mean() > 0.12
    assert np.abs(found.bias).mean() < 0.06


def test_the_layers_own_bias_stays_where_there_is_no_error():
    student = np.random.default_rng(3).normal(size=(16, 2, 6, 6))
    bias = np.array([3.0, -4.0])

    assert correction(student + bias[:, None, None], student, bias).bias == pytest.approx(bias, abs=1e-4)


def test_a_dead_channel_keeps_gain_one():
    student = np.zeros((16, 2, 4, 4))

    assert correction(student, student).gain.tolist() == [1.0, 1.0]


def test_no_gain_goes_beyond_a_tenth():
    student = np.random.default_rng(4).normal(size=(64, 1, 10, 10))

    assert correction(3 * student, student).gain[0] == pytest.approx(1.1, abs=1e-3)
