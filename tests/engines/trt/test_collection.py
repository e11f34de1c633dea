"""No cyclic collection starts inside a call of TensorRT."""

from __future__ import annotations

import gc

import pytest
from edgewright.engines.base import BuildOptions
from edgewright.engines.trt.build import build_plan
from edgewright.engines.trt.collection import collection_paused
from edgewright.engines.trt.log import make_logger
from edgewright.engines.trt.network import parse_model
from edgewright.engines.trt.runner import open_plan

RELEASES = ("8.6", "10.3", "11.4", "rtx-1.7")


@pytest.fixture
def heard(monkeypatch):
    """Whether the collector was on each time that TensorRT wrote a line."""
    states = []

    def make(trt, on_line=None, *, is_verbose=False):
        def line(words):
            states.append(gc.isenabled())
            if on_line is not None:
                on_line(words)

        return make_logger(trt, line, is_verbose=is_verbose)

    monkeypatch.setattr("edgewright.engines.trt.build.make_logger", make)
    monkeypatch.setattr("edgewright.engines.trt.runner.make_logger", make)
    return states


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


@pytest.mark.parametrize("release", RELEASES)
def test_a_build_reports_progress_with_the_collector_off(binding_of, tiny_classifier, tmp_path, release):
    states = []

    build_plan(binding_of(release), tiny_classifier, tmp_path, BuildOptions(), lambda share, _note: states.append((share, gc.isenabled())))

    assert len(states) > 2
    assert not any(is_on for _share, is_on in states)
    assert gc.isenabled()


def test_a_plan_that_does_not_load_is_told_with_the_collector_off(binding_of, tiny_classifier, tmp_path, memory, heard):
    binding = binding_of("10.3")
    plan = build_plan(binding, tiny_classifier, tmp_path, BuildOptions(), lambda *_: None).path
    plan.write_bytes(plan.read_bytes()[:-1])
    heard.clear()

    with pytest.raises(Exception, match=plan.name):
        open_plan(binding, plan, BuildOptions())

    assert heard
    assert not any(heard)
    assert gc.isenabled()


def test_garbage_with_an_old_builder_does_not_lock_the_real_one(rtx, tiny_classifier):
    """It did: the collection ran in the logger's callback, and the old builder's destructor waited for the lock that its maker held."""
    threshold = gc.get_threshold()
    lines = []

    def collect_where_allowed(line):
        gc.set_threshold(1)
        lines.append([[] for _ in line])

    try:
        gc.set_threshold(1_000_000)
        cycle = {"network": parse_model(rtx, tiny_classifier, make_logger(rtx.trt))}
        cycle["self"] = cycle
        del cycle
        parse_model(rtx, tiny_classifier, make_logger(rtx.trt, collect_where_allowed))
    finally:
        gc.set_threshold(*threshold)

    assert lines
