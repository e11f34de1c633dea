"""Normal equations against NumPy's own least squares."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.compression.moments import Moments, best_strength, joined


def rows_of(rng, count, width, out):
    x = rng.standard_normal((count, 1, width)) @ rng.standard_normal((width, width)) + 3
    weight = rng.standard_normal((out, width))
    return x, weight, x[:, 0] @ weight.T + 1.5 + 0.1 * rng.standard_normal((count, out))


def test_the_solution_is_least_squares_whatever_the_batches():
    x, _, t = rows_of(np.random.default_rng(0), 300, 6, 4)
    moments = Moments()
    for start in range(0, 300, 70):
        moments.add(x[start : start + 70], t[start : start + 70])

    normal = moments.spent()
    solved = normal.solve(np.zeros((1, 4, 6)), 0.0)

    with_ones = np.concatenate([x[:, 0], np.ones((300, 1))], axis=1)
    expected = np.linalg.lstsq(with_ones, t, rcond=None)[0]
    assert solved[0] == pytest.approx(expected[:6].T, abs=1e-6)
    assert normal.bias(solved) == pytest.approx(expected[6], abs=1e-6)
    residual = t - with_ones @ expected
    assert normal.error(solved) == pytest.approx(residual.var(0).sum() / t.var(0).sum(), rel=1e-6)


def test_two_halves_are_the_whole():
    x, _, t = rows_of(np.random.default_rng(1), 60, 5, 2)
    whole, first, second = Moments(), Moments(), Moments()
    whole.add(x, t)
    first.add(x[:25], t[:25])
    second.add(x[25:], t[25:])

    together, expected = joined(first.spent(), second.spent()), whole.spent()
    for name in ("mean_x", "mean_t", "xx", "xt", "tt", "count"):
        assert getattr(together, name) == pytest.approx(getattr(expected, name))


def test_equations_may_be_taken_before_all_rows_are_there():
    x, _, t = rows_of(np.random.default_rng(7), 60, 5, 2)
    moments, all_at_once = Moments(), Moments()
    all_at_once.add(x, t)
    moments.add(x[:30], t[:30])
    moments.normal()
    moments.add(x[30:], t[30:])

    assert moments.normal().xx == pytest.approx(all_at_once.spent().xx)


def test_other_targets_of_the_same_rows_are_as_if_they_had_been_added_first():
    x, _, t = rows_of(np.random.default_rng(5), 60, 5, 2)
    others = np.random.default_rng(6).standard_normal(t.shape) + 3.0
    first, expected = Moments(), Moments()
    first.add(x, t)
    expected.add(x, others)

    moved, wanted = first.spent().with_targets([(x[:40], others[:40]), (x[40:], others[40:])]), expected.spent()

    for name in ("mean_t", "xx", "xt", "tt"):
        assert getattr(moved, name) == pytest.approx(getattr(wanted, name))


def test_what_the_data_do_not_show_stays_at_the_old_weights():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((3, 1, 8))
    x[:, :, 5] = 0  # a dead input
    moments = Moments()
    moments.add(x, rng.standard_normal((3, 4)))
    old = rng.standard_normal((1, 4, 8))

    solved = moments.spent().solve(old, 1e-3)

    assert np.isfinite(solved).all()
    assert solved[:, :, 5] == pytest.approx(old[:, :, 5])


def test_held_out_samples_that_contradict_the_fit_keep_the_old_weights():
    rng = np.random.default_rng(3)
    x, weight, t = rows_of(rng, 200, 6, 3)
    fit, held_out = Moments(), Moments()
    fit.add(x[:8], rng.standard_normal((8, 3)) * 50)
    held_out.add(x[8:], t[8:])

    assert best_strength(fit.spent(), held_out.spent(), weight[None]) == float("inf")


def test_held_out_samples_that_agree_ask_for_little_restraint():
    x, _, t = rows_of(np.random.default_rng(4), 400, 6, 3)
    fit, held_out = Moments(), Moments()
    fit.add(x[:300], t[:300])
    held_out.add(x[300:], t[300:])

    assert best_strength(fit.spent(), held_out.spent(), np.zeros((1, 3, 6))) <= 1e-3
