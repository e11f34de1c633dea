"""A second deployment of the same model makes nothing again; whatever changed is made anew."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
from edgewright.core.budget import Budget
from edgewright.engines import device
from edgewright.engines.backends.onnxruntime import OnnxRuntimeBackend
from edgewright.pipeline import apprentice, automatic, calibrating, compress, compressing, judging, measure, place, rewriting
from edgewright.pipeline import optimize as optimize_module
from edgewright.pipeline.optimize import optimize
from edgewright.pipeline.request import OptimizeRequest

RECIPE = '[[passes]]\nname = "fold"\n[[passes]]\nname = "share_weights"\nratio = 4.0\n'


@pytest.fixture(scope="module")
def kept(models, tmp_path_factory):
    """A folder with a model, its card and samples, and with what a first deployment of it has left in the cache."""
    folder = tmp_path_factory.mktemp("kept")
    models.save(models.classifier(), folder / "model.onnx", models.ARRAY_CARD)
    models.save_samples(folder / "samples.npz")
    deploy(folder, Counter())
    return folder


def deploy(folder, made, **changes):
    """`optimize` as a deployment asks for it; `made` counts what each stage made. Times are of a few calls: they decide nothing here."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()

    def counted(stage, action):
        def count(*arguments, **options):
            made[stage] += 1
            return action(*arguments, **options)

        return count

    fields = {"model": str(folder / "model.onnx"), "calibration": str(folder / "samples.npz"), "evaluation": None, "out": str(out)}
    fields |= {"bench_seconds": 0.01, "cache": str(folder / "cache"), "identity": str(folder)}
    with pytest.MonkeyPatch.context() as patch:
        quick = partial(measure.measure_interleaved, warmup_s=0.0, min_samples=3)
        patch.setattr(measure, "measure_interleaved", quick)
        patch.setattr(compress, "measure_interleaved", quick)
        patch.setattr(compress, "_RACE_S", 0.01)
        patch.setattr(OnnxRuntimeBackend, "build", counted("build", OnnxRuntimeBackend.build))
        for stage, module, name in (
            ("calibrate", calibrating, "calibrate"),
            ("rewrite", rewriting, "write_rewritten"),
            ("judge", judging, "measure_fidelity"),
            ("compress", compressing, "compress_subject"),
            ("time", automatic, "measure_timing"),
            ("time", optimize_module, "measure_timing"),
        ):
            patch.setattr(module, name, counted(stage, getattr(module, name)))
        return optimize(OptimizeRequest(**{**fields, **changes}), progress=lambda *_: None, cancel=lambda: False)


@pytest.fixture
def again(kept, tmp_path):
    """``again(**changes)`` deploys in a copy of the folder, and says how often each stage made something."""
    folder = tmp_path / "copy"
    shutil.copytree(kept, folder)

    def run(**changes):
        made = Counter()
        deploy(folder, made, **changes)
        return made

    run.folder = folder
    return run


def test_the_same_deployment_is_only_timed(again):
    assert again() == {"time": 1}


def test_another_model_is_made_from_the_beginning(again, models):
    models.save(models.classifier(seed=9), again.folder / "model.onnx")

    made = again()

    assert {"build", "calibrate", "rewrite", "judge"} <= set(made)
    assert made["build"] >= 2


def test_another_card_is_calibrated_and_judged_anew(again, models):
    (again.folder / "model.toml").write_text(models.ARRAY_CARD + "\n# seen again\n")

    assert {"calibrate", "judge"} <= set(again())


def test_other_samples_are_calibrated_and_judged_anew(again, models):
    models.save_samples(again.folder / "samples.npz", seed=7)

    assert {"calibrate", "judge"} <= set(again())


@pytest.mark.parametrize("changes", [{"repair": False}, {"method": "minmax"}, {"budget": Budget(min_sqnr_db=5.0)}])
def test_other_options_of_calibration_are_calibrated_anew(again, changes):
    assert "calibrate" in again(**changes)


def test_other_options_of_building_are_built_raced_and_judged_anew(again):
    made = again(threads=2)

    assert {"build", "rewrite", "judge"} <= set(made)
    assert made["calibrate"] == 0


def test_another_release_of_the_runtime_is_built_raced_and_judged_anew(again, monkeypatch):
    capabilities = OnnxRuntimeBackend.capabilities
    monkeypatch.setattr(OnnxRuntimeBackend, "capabilities", lambda self: replace(capabilities(self), version="99.0"))

    assert {"build", "rewrite", "judge"} <= set(again())


def test_in_another_power_mode_it_is_built_raced_and_judged_anew(again, monkeypatch):
    for module in (device, place):
        monkeypatch.setattr(module, "power_mode", lambda _sysfs: "MAXN")

    assert {"build", "rewrite", "judge"} <= set(again())


def test_another_processor_builds_and_races_anew(again, monkeypatch):
    for module in (device, place):
        monkeypatch.setattr(module, "local_processor", lambda *_: "another one")

    assert {"build", "rewrite", "judge"} <= set(again())


@pytest.mark.parametrize("kind", ["rewrites", "calibrations"])
@pytest.mark.parametrize("content", [b"", b"not what it was"])
def test_a_damaged_entry_is_made_anew(again, kind, content):
    for path in (again.folder / "cache" / kind).rglob("*.onnx" if kind == "calibrations" else "*.json"):
        path.write_bytes(content)

    assert {"rewrites": "rewrite", "calibrations": "calibrate"}[kind] in again()
    assert again() == {"time": 1}


def test_a_compressed_model_is_not_compressed_again(again, models):
    models.save(models.wide_classifier(), again.folder / "model.onnx")
    recipe = again.folder / "mine.toml"
    recipe.write_text(RECIPE)
    request = {"recipe": "mine", "recipe_file": str(recipe)}

    first, second = again(**request), again(**request)
    recipe.write_text(RECIPE.replace("4.0", "3.0"))
    third = again(**request)

    assert (first["compress"], second["compress"], third["compress"]) == (1, 0, 1)
    assert second == {"time": 1}


def test_a_student_is_not_taught_again(again, monkeypatch, models):
    pytest.importorskip("torch", reason="PyTorch is not installed: make torch")
    models.save(models.wide_classifier(), again.folder / "model.onnx")
    recipe = again.folder / "taught.toml"
    text = '[distill]\nstudent = "plain:4"\nminutes = 0.02\n'
    recipe.write_text(text)
    monkeypatch.setattr(apprentice, "MIN_MINUTES", 0.001)
    obstacles = iter((None, "the device is busy", "the device is busy"))
    monkeypatch.setattr(optimize_module, "why_not_now", lambda: next(obstacles))
    request = {"recipe": "taught", "recipe_file": str(recipe)}

    def names(result):
        return [candidate.name for candidate in result.candidates]

    first, second = (deploy(again.folder, Counter(), **request) for _ in range(2))
    recipe.write_text(text.replace("plain:4", "plain:6"))
    third = deploy(again.folder, Counter(), **request)

    assert names(first) == names(second) == ["fp32", "student"]
    assert all(candidate.is_cached for candidate in second.candidates)
    # Another order is another student, and the device is busy.
    assert names(third) == ["fp32"]
