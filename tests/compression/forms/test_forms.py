"""The conformance suite of forms: whatever is found in the folder, on layers of every shape."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.compression import forms
from edgewright.compression.forms._base import form_macs
from edgewright.compression.forms.sparse import halve
from edgewright.compression.moments import Moments, Normal
from edgewright.compression.network import Geometry, Layer, chain_macs
from edgewright.compression.traits import is_2_4
from edgewright.core.plugins import load_plugin, plugin_names

LAYERS = {
    "3x3": Geometry(16, 24, 1, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    "3x3 stride 2": Geometry(12, 20, 1, (3, 3), (2, 2), (1, 1), (1, 0, 0, 1)),
    "5x3 dilated": Geometry(8, 16, 1, (5, 3), (1, 1), (2, 1), (4, 1, 4, 1)),
    "1x1": Geometry(32, 48, 1, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    "depthwise": Geometry(16, 16, 16, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    "grouped": Geometry(16, 16, 2, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    "one axis": Geometry(16, 16, 1, (5,), (1,), (1,), (2, 2)),
    "matrix": Geometry(40, 30),
}
FORMS = {name: load_plugin(forms, name).FORM for name in plugin_names(forms)}


def layer_of(geometry: Geometry) -> Layer:
    size = (10,) * len(geometry.kernel) or (1,)
    return Layer("layer", "Conv" if geometry.kernel else "Gemm", "x", "y", "w", None, geometry, size)


def equations(geometry: Geometry, seed: int = 0) -> tuple[Normal, np.ndarray]:
    """Of correlated inputs and the targets that random weights make."""
    rng = np.random.default_rng(seed)
    width, out = geometry.fan_in, geometry.channels_out // geometry.groups
    weight = rng.standard_normal((geometry.groups, out, width)) / np.sqrt(width)
    x = rng.standard_normal((3 * width + 20, geometry.groups, width)) * (0.9 ** np.arange(width)) + 0.2
    moments = Moments()
    moments.add(x, np.einsum("ngd,god->ngo", x, weight).reshape(len(x), -1))
    return moments.spent(), weight


def convolve(piece_weight, geometry, x):
    """A plain convolution, position by position: independent of the code under test."""
    kernel, half = geometry.kernel, len(geometry.kernel)
    if not kernel:
        return x @ piece_weight.T
    x = np.pad(x, [(0, 0), *((geometry.pads[i], geometry.pads[half + i]) for i in range(half))])
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, geometry.dilations, strict=True)]
    size = [(n - r) // s + 1 for n, r, s in zip(x.shape[1:], reach, geometry.strides, strict=True)]
    result = np.zeros((geometry.channels_out, *size))
    per_in, per_out = geometry.channels_in // geometry.groups, geometry.channels_out // geometry.groups
    for at in np.ndindex(*size):
        window = x[(slice(None), *(slice(a * s, a * s + r, d) for a, s, r, d in zip(at, geometry.strides, reach, geometry.dilations, strict=True)))]
        for out in range(geometry.channels_out):
            group = out // per_out
            result[(out, *at)] = (piece_weight[out] * window[group * per_in : (group + 1) * per_in]).sum()
    return result


@pytest.mark.parametrize("shape", LAYERS)
@pytest.mark.parametrize("name", FORMS)
def test_a_form_refuses_with_a_reason_or_its_pieces_make_the_map_it_promises(name, shape):
    form, layer = FORMS[name], layer_of(LAYERS[shape])
    refusal = form.refusal(layer)
    if refusal is not None:
        assert refusal.startswith("it")
        return
    normal, weight = equations(layer.geometry)
    ranks = form.ranks(layer, 4)
    assert ranks
    picked = tuple({ranks[0], ranks[-1]})

    for rank, fitted in zip(picked, form.fit(layer, picked, normal, weight), strict=True):
        chain = form.chain(layer, rank)
        assert tuple(piece.geometry for piece in fitted.pieces) == chain
        assert all(p.weight.shape == (g.channels_out, g.channels_in // g.groups, *g.kernel) for p, g in zip(fitted.pieces, chain, strict=True))
        assert form_macs(form, layer, rank) == chain_macs(chain, layer.size)
        g = layer.geometry
        x = np.random.default_rng(5).standard_normal((g.channels_in, *layer.size) if g.kernel else (1, g.channels_in))
        made = x
        for piece in fitted.pieces:
            made = convolve(piece.weight, piece.geometry, made)
        whole = fitted.weight.reshape(g.channels_out, g.channels_in // g.groups, *g.kernel)
        assert made == pytest.approx(convolve(whole, g, x), abs=1e-8)


@pytest.mark.parametrize("name", ["lowrank", "tucker2", "spatial", "depthwise"])
def test_more_rank_never_errs_more(name):
    layer = layer_of(LAYERS["3x3"])
    normal, weight = equations(layer.geometry)
    form = FORMS[name]
    ranks = [rank for rank in form.ranks(layer, 2) if name != "tucker2" or rank[0] == form.ranks(layer, 2)[-1][0]]

    errors = [normal.error(fitted.weight) for fitted in form.fit(layer, ranks, normal, weight)]

    assert errors == sorted(errors, reverse=True) or max(np.diff(errors)) < 1e-6


def test_low_rank_is_the_best_of_its_rank_on_the_data():
    layer = layer_of(LAYERS["matrix"])
    normal, weight = equations(layer.geometry)

    fitted = next(FORMS["lowrank"].fit(layer, [(5,)], normal, weight))

    # Eckart and Young: in coordinates where the inputs are white, the error is the sum of the smallest squared singular values.
    root = np.linalg.cholesky(normal.xx[0])
    tail = np.linalg.svd(weight[0] @ root, compute_uv=False)[5:]
    assert normal.error(fitted.weight) * normal.power == pytest.approx(np.square(tail).sum(), rel=1e-4)


def test_depthwise_with_a_pattern_for_every_tap_would_be_exact():
    layer = layer_of(LAYERS["3x3"])
    normal, weight = equations(layer.geometry)

    fitted = next(FORMS["depthwise"].fit(layer, [(9,)], normal, weight))

    assert normal.error(fitted.weight) < 1e-6


def test_a_kernel_of_three_parts_is_found_by_three_of_them():
    layer = layer_of(LAYERS["3x3"])
    rng = np.random.default_rng(3)
    outputs, inputs, places = (rng.standard_normal((size, 3)) for size in (24, 16, 9))
    weight = np.einsum("or,cr,sr->ocs", outputs, inputs, places).reshape(1, 24, -1)
    x = rng.standard_normal((600, 1, 144))
    moments = Moments()
    moments.add(x, np.einsum("ngd,god->ngo", x, weight).reshape(len(x), -1))
    normal = moments.spent()

    few, enough = (normal.error(fitted.weight) for fitted in FORMS["cp"].fit(layer, [(2,), (3,)], normal, weight))

    assert few > 0.01
    assert enough < 1e-4


def test_shared_weights_take_few_values_and_more_fineness_errs_less():
    layer = layer_of(LAYERS["3x3"])
    normal, weight = equations(layer.geometry)

    coarse, fine = (next(FORMS["shared"].fit(layer, [(rank,)], normal, weight)) for rank in (3, 8))

    assert len(np.unique(coarse.weight)) < len(np.unique(fine.weight)) < 200
    assert normal.error(fine.weight) < normal.error(coarse.weight) / 4
    assert np.array_equal(fine.weight, fine.weight.astype(np.float16))


def test_second_order_rounding_errs_less_than_rounding_to_the_nearest():
    layer = layer_of(LAYERS["1x1"])
    normal, weight = equations(layer.geometry)

    shared = next(FORMS["shared"].fit(layer, [(4,)], normal, weight)).weight

    values = np.unique(shared)
    nearest = values[np.abs(weight[..., None] - values).argmin(-1)]
    assert normal.error(shared) < 0.9 * normal.error(nearest)


def test_halving_keeps_two_of_four_and_makes_good_for_the_rest():
    normal, weight = equations(LAYERS["3x3"])
    xx = normal.xx[0] + 1e-3 * normal.scale * np.eye(144)

    pruned = halve(xx, weight[0], 16, 9)

    assert is_2_4(pruned.reshape(24, 16, 3, 3).astype(np.float32))
    by_four = np.abs(weight[0].reshape(24, 4, 4, 9))
    kept = by_four >= np.sort(by_four, axis=2)[:, :, 2:3]
    magnitude = np.where(kept, weight[0].reshape(24, 4, 4, 9), 0).reshape(1, 24, 144)
    assert normal.error(pruned[None]) < 0.7 * normal.error(magnitude)
