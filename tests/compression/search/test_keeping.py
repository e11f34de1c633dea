"""A space survives on disk."""

from __future__ import annotations

import msgspec
from edgewright.compression.search.damage import FORMS
from edgewright.compression.search.keeping import KeptSpace, kept, space_of


def test_what_was_kept_is_the_same_space(explored):
    data = msgspec.json.encode(kept(explored))

    again = space_of(explored.network, msgspec.json.decode(data, type=KeptSpace), FORMS)

    assert again.widths == explored.widths
    assert again.sites == explored.sites
    assert again.plans == explored.plans
