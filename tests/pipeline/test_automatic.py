"""The recipe ``auto`` from file to verdict, on networks large enough to be searched."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from edgewright.core.budget import Budget
from edgewright.core.errors import Unfit
from edgewright.pipeline import rounds
from edgewright.pipeline.optimize import optimize
from edgewright.pipeline.request import OptimizeRequest

needs_solver = pytest.mark.skipif(importlib.util.find_spec("scipy") is None, reason="scipy is not installed: pip install 'edgewright[search]'")


@pytest.fixture(scope="module")
def classifier(models, tmp_path_factory):
    """Wide convolutions on 24 × 24: some tenths of a millisecond, a few seconds to search."""
    random = np.random.default_rng(3)

    def weight(*shape):
        fan_in = int(np.prod(shape[1:]))
        rows = random.standard_normal((shape[0], 6)) @ random.standard_normal((6, fan_in)) + 0.1 * random.standard_normal((shape[0], fan_in))
        return (rows.reshape(shape) / (6 * fan_in) ** 0.5).astype(np.float32)

    nodes, source, channels, weights = [], "input", 3, {}
    for index, out in enumerate((48, 48)):
        weights[f"w{index}"], weights[f"b{index}"] = weight(out, channels, 3, 3), np.full(out, 0.05, np.float32)
        nodes.append(models.node("Conv", [source, f"w{index}", f"b{index}"], [f"c{index}"], pads=[1, 1, 1, 1]))
        nodes.append(models.node("Relu", [f"c{index}"], [f"r{index}"]))
        source, channels = f"r{index}", out
    weights["head"] = weight(4, channels)
    nodes += [
        models.node("GlobalAveragePool", [source], ["pooled"]),
        models.node("Flatten", ["pooled"], ["flat"]),
        models.node("Gemm", ["flat", "head"], ["logits"], transB=1),
    ]
    proto = models.model(nodes, {"input": ["N", 3, 24, 24]}, {"logits": ["N", 4]}, weights)
    return models.save(proto, tmp_path_factory.mktemp("auto") / "classifier.onnx", models.ARRAY_CARD)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("samples") / "samples.npz"
    random = np.random.default_rng(4)
    smooth = random.standard_normal((48, 3, 24, 24)) + 2 * random.standard_normal((48, 3, 1, 1))
    np.savez(path, input=smooth.astype(np.float32))
    return path


@pytest.fixture
def run(classifier, data, tmp_path):
    return lambda **changes: start(classifier, data, tmp_path, **changes)


def start(classifier, data, folder, *, cancel=lambda: False, notes=None, **changes):
    out = Path(tempfile.mkdtemp(dir=folder, prefix="out-"))
    fields = {
        "model": str(classifier),
        "calibration": str(data),
        "evaluation": None,
        "out": str(out),
        "bench_seconds": 0.05,
        "cache": str(folder / "cache"),
        "quick": True,
    }
    progress = lambda share, note: notes.append((share, note)) if notes is not None else None
    return optimize(OptimizeRequest(**{**fields, **changes}), progress=progress, cancel=cancel)


@pytest.fixture(scope="module")
def searched(classifier, data, tmp_path_factory):
    """One search, its progress, and the folder with its cache."""
    if importlib.util.find_spec("scipy") is None:
        pytest.skip("scipy is not installed: pip install 'edgewright[search]'")
    folder, notes = tmp_path_factory.mktemp("searched"), []
    return start(classifier, data, folder, notes=notes), notes, folder


def test_a_search_builds_whole_networks_and_says_what_they_came_to(searched):
    result, notes, _ = searched

    search = result.search
    assert result.verdict == "accepted"
    assert search.plans >= 1
    assert 0 < search.measured <= 300
    assert [point.name for point in search.points] == [candidate.name for candidate in result.candidates]
    assert Path(search.plot).read_text().startswith("<svg")
    planned = [point for point in search.points if point.predicted_ms is not None]
    assert all(point.predicted_damage is not None and point.damage > 0 for point in planned)
    assert planned or any("noise" in note for note in result.notes)
    shares = [share for share, note in notes if "s more" in note]
    assert shares
    assert shares == sorted(shares)


def test_the_chosen_engine_is_never_slower_than_the_others_that_are_allowed(searched):
    result = searched[0]

    allowed = {point.name for point in result.search.points if point.is_allowed}
    fastest = min(candidate.latency_ms.p50 for candidate in result.candidates if candidate.name in allowed)
    # `choose` claims no difference of less than two percent at each step.
    assert result.chosen.latency_ms.p50 <= fastest * 1.02 ** len(allowed)


def test_an_identical_run_takes_the_outcome_and_neither_searches_nor_builds(searched, classifier, data):
    first, _, folder = searched
    second = start(classifier, data, folder)

    assert second.search.is_from_before
    assert second.search.measured == 0
    assert all(candidate.is_cached for candidate in second.candidates)
    before = {candidate.name: candidate.fingerprint for candidate in first.candidates}
    assert all(before[candidate.name] == candidate.fingerprint for candidate in second.candidates)
    assert second.verdict == "accepted"
    assert {point.name for point in second.search.points} == {candidate.name for candidate in second.candidates}


def test_without_labels_that_is_said(searched):
    result = searched[0]

    assert any("there are no labels" in note for note in result.notes)
    assert all(point.top1_drop is None for point in result.search.points)


@needs_solver
def test_a_budget_that_nothing_meets_names_the_nearest_and_by_how_much(run):
    result = run(budget=Budget(max_size_bytes=1000), search_s=0.0, quick=False)

    assert result.verdict == "rejected"
    assert result.chosen is not None
    assert "max_size_bytes = 1000" in result.reasons[0].message
    assert str(result.chosen.size_bytes)[:4] in result.reasons[0].message.replace(".", "")


@needs_solver
def test_a_cancelled_search_keeps_its_measurements(run, tmp_path):
    with pytest.raises(Unfit) as caught:
        run(cancel=lambda: any((tmp_path / "cache").rglob("costs/*.json")))

    assert caught.value.code == "cancelled"
    (table,) = (tmp_path / "cache").rglob("costs/*.json")
    assert msgspec.json.decode(table.read_bytes())["costs"]


def test_no_seconds_are_no_search(run):
    result = run(quick=False, search_s=0.0)

    assert {"fp32", "int8"} <= {candidate.name for candidate in result.candidates}
    assert not any(candidate.name.startswith("auto") for candidate in result.candidates)
    assert any("no search" in note for note in result.notes)


def test_without_the_solver_int8_is_what_auto_gives(run, monkeypatch):
    from edgewright.pipeline import automatic

    monkeypatch.setattr(automatic, "unavailable", lambda: "the search needs HiGHS, which comes with scipy: pip install 'edgewright[search]'")

    result = run()

    assert result.verdict == "accepted"
    assert not any(candidate.name.startswith("auto") for candidate in result.candidates)
    assert any("edgewright[search]" in note for note in result.notes)


@needs_solver
def test_a_network_that_a_launch_outweighs_is_not_searched(run, tiny_classifier, tiny_samples):
    result = run(model=str(tiny_classifier), calibration=str(tiny_samples))

    assert any("launch alone" in note for note in result.notes)
    assert result.search.measured == 1


@pytest.mark.parametrize(("parts_ms", "expected"), [(1.0, 1.0), (10.0, 0.5), (0.5, 1.1), (0.0, 1.0)])
def test_the_first_guess_stays_within_reason(parts_ms, expected):
    class Parts:
        def total_ms(self, plan):
            del plan
            return parts_ms

    assert rounds.first_gain(1.0, Parts()) == expected
