from __future__ import annotations

import onnx
import pytest

SHARE = '[[passes]]\nname = "fold"\n[[passes]]\nname = "share_weights"\nratio = 4.0\n'


@pytest.fixture
def share(tmp_path):
    path = tmp_path / "share.toml"
    path.write_text(SHARE)
    return path


def test_writes_a_smaller_file_and_accounts_for_every_pass(edgewright, wide_classifier, tiny_samples, share, tmp_path):
    out = tmp_path / "small.ewz"
    before = wide_classifier.read_bytes()

    ran = edgewright("compress", wide_classifier, "--calibration", tiny_samples, "--out", out, "--recipe", share, "--seconds", "0.05", "--json")

    assert (ran.status, ran.err) == (0, "")
    answer = ran.json
    assert [entry["name"] for entry in answer["passes"]] == ["fold", "share_weights"]
    shared = answer["passes"][1]
    assert set(shared["before"]) == {"macs", "params", "nonzero", "file_bytes", "wire_bytes"}
    assert (shared["outcome"], shared["after"]["wire_bytes"] < shared["before"]["wire_bytes"]) == ("kept", True)
    assert answer["written_bytes"] == out.stat().st_size
    assert answer["fidelity"]["sqnr_db"] > 10
    for name in ("original", "compressed"):
        assert answer[name]["latency_ms"]["samples"] >= 100
        assert (answer[name]["energy_mj"] is None) is bool(answer[name]["energy_reason"])
    assert wide_classifier.read_bytes() == before


def test_an_onnx_file_can_be_run_as_it_is(edgewright, wide_classifier, tiny_samples, share, tmp_path):
    out = tmp_path / "small.onnx"

    ran = edgewright("compress", wide_classifier, "--calibration", tiny_samples, "--out", out, "--recipe", share, "--seconds", "0.05")

    assert ran.status == 0
    onnx.checker.check_model(onnx.load(out))
    assert "share_weights" in ran.out
    assert [line.split()[0] for line in ran.out.splitlines() if "in total" in line] == ["in"]
    assert "agreement" in ran.out
    assert str(out) in ran.out.splitlines()[-1]


def test_the_recipe_none_changes_nothing_and_says_so(edgewright, tiny_classifier, tmp_path):
    out = tmp_path / "same.onnx"

    ran = edgewright("compress", tiny_classifier, "--out", out, "--recipe", "none", "--seconds", "0.05")

    assert ran.status == 0
    assert out.read_bytes() == tiny_classifier.read_bytes()
    assert "the model as it was" in ran.out


def test_a_pass_that_gains_nothing_is_undone_and_says_so(edgewright, tiny_classifier, tiny_samples, tmp_path):
    out, recipe = tmp_path / "same.onnx", tmp_path / "fold.toml"
    recipe.write_text('[[passes]]\nname = "fold"\n[[passes]]\nname = "factorize"\nenergy = 0.5\nstep = 1\n')

    ran = edgewright("compress", tiny_classifier, "--calibration", tiny_samples, "--out", out, "--recipe", recipe, "--seconds", "0.05")

    assert ran.status == 0
    assert "factorize did nothing: " in ran.out or "factorize was undone: " in ran.out


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--recipe", "magic"], "recipe-unknown"),
        (["--recipe", "small"], "data-missing"),
        (["--recipe", "none", "--out", "x.bin"], "out-suffix"),
        (["--recipe", "none", "--out", "no/such/folder/x.onnx"], "out-not-folder"),
    ],
)
def test_mistakes_are_refused_with_one_line(edgewright, tiny_classifier, tmp_path, monkeypatch, options, code):
    monkeypatch.chdir(tmp_path)

    ran = edgewright("compress", tiny_classifier, "--out", "y.onnx", *options, "--json")

    assert (ran.status, ran.code) == (1, code)
    assert not (tmp_path / "y.onnx").exists()


def test_nothing_that_exists_is_overwritten(edgewright, tiny_classifier, tmp_path):
    (tmp_path / "there.onnx").write_bytes(b"mine")

    ran = edgewright("compress", tiny_classifier, "--out", tmp_path / "there.onnx", "--recipe", "none", "--json")

    assert (ran.status, ran.code) == (1, "out-exists")
    assert (tmp_path / "there.onnx").read_bytes() == b"mine"
