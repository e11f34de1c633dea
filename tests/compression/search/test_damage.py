"""Damages: zero for nothing, more for more, and near what the whole network shows."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.compression.activations import Engine
from edgewright.compression.fidelity import record_reference
from edgewright.compression.network import Network
from edgewright.compression.search.build import built_whole
from edgewright.compression.search.damage import FORMS, SPARSE_FORMS, explore
from edgewright.compression.search.plan import Plan
from edgewright.compression.search.predict import damage_of


def test_losing_more_channels_does_more_damage(explored):
    assert explored.widths
    for width in explored.widths:
        assert width.levels[0] == ()
        assert width.damages[0] == 0.0
        assert all(set(a) < set(b) for a, b in zip(width.levels, width.levels[1:], strict=False))
        assert all(a <= b + 1e-9 for a, b in zip(width.damages, width.damages[1:], strict=False))


def test_every_dense_layer_that_saves_anything_has_forms(explored):
    with_forms = {site.layer.name for site in explored.sites if site.forms}

    assert "t2/conv" not in with_forms or with_forms
    assert all(form.damage >= 0 for site in explored.sites for form in site.forms)
    assert len({form.choice.form.name for site in explored.sites for form in site.forms}) >= 2


def test_predicted_and_whole_damage_are_of_one_size(explored, residual_model, samples):
    data = samples(residual_model)
    reference = record_reference(Network(residual_model), data, Engine(), is_classifier=True)
    cheap = {width.makers: 1 for width in sorted(explored.widths, key=lambda width: width.damages[1])[:2]}
    plan = Plan({}, cheap)

    model = built_whole(explored, plan, data, Engine(), lambda *_: None)

    measured, predicted = reference.damage(model, Engine()), damage_of(explored, plan)
    assert 0.02 * predicted < measured < 20 * predicted + 1e-4
    assert np.isfinite(measured)


def test_a_plan_with_widths_and_forms_is_built_whole(explored, residual_model, samples, run_model):
    touched = {index for index, width in enumerate(explored.widths) if width.makers == explored.widths[0].makers}
    free = next(site for site in explored.sites if site.forms and not touched & set(site.widths))
    plan = Plan({free.layer.name: free.forms[-1].choice}, {explored.widths[0].makers: 1})
    data = samples(residual_model)

    model = built_whole(explored, plan, data, Engine(), lambda *_: None)

    made = Network(model)
    assert made.macs < explored.network.macs
    assert run_model(model, data).shape == run_model(residual_model, data).shape


@pytest.mark.parametrize(("kinds", "is_offered"), [(FORMS, False), (SPARSE_FORMS, True)], ids=["without", "with"])
def test_zeros_are_a_choice_only_where_kernels_skip_them(chain_model, samples, kinds, is_offered):
    network, data = Network(chain_model), samples(chain_model).first(4)
    reference = record_reference(network, data, Engine(), is_classifier=True)

    space = explore(network, data, reference, Engine(), lambda *_: None, kinds)

    assert ("sparse" in {form.choice.form.name for site in space.sites for form in site.forms}) == is_offered
