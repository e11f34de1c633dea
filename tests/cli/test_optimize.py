from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def optimize(edgewright, tiny_classifier, tiny_samples, tmp_path):
    def start(*arguments):
        data = () if "--calibration" in arguments or "none" in arguments else ("--calibration", tiny_samples)
        return edgewright("optimize", tiny_classifier, *data, "--out", tmp_path / "out", "--seconds", "0.05", *arguments)

    return start


@pytest.fixture
def budget(tmp_path):
    def write(text):
        path = tmp_path / "budget.toml"
        path.write_text(text)
        return path

    return write


def test_the_object_has_every_key_that_scripts_rely_on(optimize):
    ran = optimize("--json")

    assert ran.status == 0
    assert ran.err == ""
    answer = ran.json
    assert set(answer) >= {"chosen", "baseline", "candidates", "verdict", "reasons"}
    assert answer["verdict"] == "accepted"
    assert answer["baseline"]["name"] == "fp32"
    assert answer["chosen"] in answer["candidates"]
    for candidate in answer["candidates"]:
        assert set(candidate) >= {"name", "backend", "path", "size_bytes", "latency_ms", "energy_mj", "fidelity"}
        assert set(candidate["latency_ms"]) >= {"mean", "p50", "p90", "p99", "samples"}
        assert Path(candidate["path"]).suffix == ".onnx"
        assert Path(candidate["path"]).is_file()
        assert candidate["size_bytes"] == Path(candidate["path"]).stat().st_size


def test_people_read_a_table_and_why(optimize):
    ran = optimize()

    assert ran.status == 0
    assert "fp32" in ran.out
    assert "int8" in ran.out
    assert "accepted:" in ran.out.splitlines()[-1]


def test_a_budget_that_nothing_meets_exits_with_one(optimize, budget, tmp_path):
    path = budget("max_latency_p99_ms = 0.000001\n")

    ran = optimize("--budget", path, "--json")

    assert ran.status == 1
    assert ran.json["verdict"] == "rejected"
    assert ran.json["reasons"][0]["code"] == "budget"
    assert "max_latency_p99_ms" in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["fp32", "int8"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("max_top1_dropp = 0.1\n", "budget-unknown-key"),
        ("max_top1_drop = 5\n", "budget-bad-value"),
        ('max_top1_drop = "much"\n', "budget-bad-value"),
        ("max_top1_drop", "budget-unreadable"),
    ],
)
def test_a_bad_budget_is_refused_before_any_work(optimize, budget, tmp_path, text, code):
    ran = optimize("--budget", budget(text), "--json")

    assert ran.status == 1
    assert ran.code == code
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--recipe", "magic"], "recipe-unknown"),
        (["--backend", "magic"], "unknown-plugin"),
        (["--backend", "null"], "backend-unavailable"),
        (["--calibration", "/nowhere"], "dataset-missing"),
        (["--budget", "/nowhere.toml"], "budget-unreadable"),
    ],
)
def test_bad_requests_are_refused_and_leave_nothing(optimize, tmp_path, monkeypatch, arguments, code):
    monkeypatch.delenv("EDGEWRIGHT_NULL_BACKEND", raising=False)

    ran = optimize(*arguments, "--json")

    assert ran.code == code
    assert not (tmp_path / "out").exists()


def test_without_samples_only_the_recipe_none_works(edgewright, optimize, tiny_classifier, tmp_path):
    assert edgewright("optimize", tiny_classifier, "--out", tmp_path / "out", "--json").code == "calibration-missing"

    ran = optimize("--recipe", "none", "--json")

    assert [candidate["name"] for candidate in ran.json["candidates"]] == ["fp32"]
    assert json.loads((tmp_path / "out" / "fp32" / "manifest.json").read_text())["model"] == "tiny"
