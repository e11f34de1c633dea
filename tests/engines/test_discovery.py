from __future__ import annotations

import pytest
from edgewright.core.errors import Rejected, Unfit
from edgewright.engines.discovery import backend_statuses, load_backend, usable_backend


def test_the_null_backend_is_never_chosen_by_itself(monkeypatch):
    monkeypatch.delenv("EDGEWRIGHT_NULL_BACKEND", raising=False)

    with pytest.raises(Unfit) as caught:
        usable_backend("null")

    assert caught.value.code == "backend-unavailable"
    assert usable_backend(None)[0] != "null"


def test_a_real_backend_comes_before_the_null_backend(monkeypatch):
    monkeypatch.setenv("EDGEWRIGHT_NULL_BACKEND", "1")

    assert usable_backend(None)[0] != "null"
    assert usable_backend("null")[0] == "null"


def test_an_unknown_backend_is_refused_with_what_there_is():
    with pytest.raises(Rejected) as caught:
        load_backend("tensorrrt")

    assert caught.value.code == "unknown-plugin"
    assert "onnxruntime" in caught.value.next_step


def test_without_any_backend_doctor_is_named(monkeypatch):
    monkeypatch.delenv("EDGEWRIGHT_NULL_BACKEND", raising=False)
    monkeypatch.setattr(type(load_backend("onnxruntime")), "unavailable", lambda _self: "not installed")

    with pytest.raises(Unfit) as caught:
        usable_backend(None)

    assert "doctor" in caught.value.next_step


def test_every_backend_is_usable_or_says_why_not():
    statuses = backend_statuses()

    assert [status.name for status in statuses] == sorted(status.name for status in statuses)
    for status in statuses:
        assert bool(status.version) is status.is_usable
        assert status.is_usable or status.reason
