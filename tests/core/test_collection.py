"""The collector is off inside, and afterwards as it was."""

from __future__ import annotations

import gc

import pytest
from edgewright.core.collection import collection_paused


def test_collects_again_afterwards_even_after_an_error():
    states = []

    @collection_paused()
    def fail():
        with collection_paused():
            states.append(gc.isenabled())
        states.append(gc.isenabled())
        raise KeyError

    with pytest.raises(KeyError):
        fail()

    assert [*states, gc.isenabled()] == [False, False, True]


def test_leaves_a_collector_off_that_was_off():
    gc.disable()
    try:
        with collection_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
