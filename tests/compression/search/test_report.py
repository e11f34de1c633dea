"""What each layer became, in words."""

from __future__ import annotations

from edgewright.compression.search.plan import Plan
from edgewright.compression.search.report import layers_of


def test_only_what_changed_is_told(chain_model, make_space, filled):
    space = make_space(chain_model)
    plan = Plan({}, {space.widths[0].makers: 2})

    told = layers_of(filled(space), plan)

    assert [entry.layer for entry in told] == [site.layer.name for site in space.sites[:2]]
    assert told[0].became == "3 → 16 channels became 3 → 12"
    assert told[0].damage == round(space.widths[0].damages[2], 6)
    assert told[1].damage == 0.0


def test_a_form_is_told_with_its_rank(chain_model, make_space, filled):
    space = make_space(chain_model)
    site = space.sites[1]

    (told,) = layers_of(filled(space), Plan({site.layer.name: site.forms[0].choice}))

    assert told.became == "lowrank 4"
    assert told.damage == round(site.forms[0].damage, 6)


def test_nothing_is_told_of_nothing(chain_model, make_space, filled, nothing):
    assert layers_of(filled(make_space(chain_model)), nothing) == ()
