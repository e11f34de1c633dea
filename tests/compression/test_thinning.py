"""Optimal brain surgeon by whole channels, against solving the normal equations without them."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.compression.moments import Moments
from edgewright.compression.network import Geometry, Layer
from edgewright.compression.thinning import Reader


@pytest.fixture
def reader():
    rng = np.random.default_rng(0)
    geometry = Geometry(6, 5, 1, (3,), (1,), (1,), (1, 1))
    layer = Layer("l", "Conv", "x", "y", "w", None, geometry, (9,))
    weight = rng.standard_normal((5, 18))
    x = (rng.standard_normal((200, 18)) @ rng.standard_normal((18, 18)))[:, None]
    moments = Moments()
    moments.add(x, x[:, 0] @ weight.T)
    normal = moments.spent()
    return Reader.of(layer, weight, normal), normal, weight


def best_without(normal, weight, gone, ridge):
    """The least error of weights that do not use `gone`, by a solver of its own."""
    stays = np.setdiff1d(np.arange(18), gone)
    xx = normal.xx[0] + ridge * np.eye(18)
    xt = xx @ weight.T
    solved = np.zeros((5, 18))
    solved[:, stays] = np.linalg.solve(xx[np.ix_(stays, stays)], xt[stays]).T
    return solved, float(np.einsum("od,de,oe->", weight - solved, xx, weight - solved)) / normal.power


def test_the_damage_of_one_channel_is_what_least_squares_cannot_make_good(reader):
    thinned, normal, weight = reader
    ridge = 1e-3 * normal.scale

    expected = [best_without(normal, weight, range(3 * c, 3 * c + 3), ridge)[1] for c in range(6)]

    assert thinned.damages() == pytest.approx(expected, rel=1e-6)


def test_removing_one_after_the_other_is_removing_them_together(reader):
    thinned, normal, weight = reader
    thinned.remove(np.array([1]))
    thinned.remove(np.array([4]))

    expected, _ = best_without(normal, weight, [3, 4, 5, 12, 13, 14], 1e-3 * normal.scale)

    assert thinned.weight == pytest.approx(expected, abs=1e-8)
    assert thinned.damages()[[1, 4]] == pytest.approx(0)


def test_a_part_knows_what_the_whole_knows_of_its_channels(reader):
    thinned, _, _ = reader

    assert thinned.part(np.array([0, 3])).damages() == pytest.approx(thinned.damages()[[0, 3]])
