"""The pipeline from file to verdict, on a small model."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.core.budget import Budget
from edgewright.core.errors import Reason, Rejected, Unfit
from edgewright.engines.opening import check_folder
from edgewright.engines.provenance import trusted_by_user
from edgewright.pipeline.build import build_engine
from edgewright.pipeline.optimize import optimize
from edgewright.pipeline.request import LostStep, OptimizeRequest


@pytest.fixture
def run(tiny_classifier, tiny_samples, tmp_path):
    out = tmp_path / "out"

    def start(*, cancel=lambda: False, progress=lambda _share, _note: None, **changes):
        out.mkdir(exist_ok=True)
        fields = {
            "model": str(tiny_classifier),
            "calibration": str(tiny_samples),
            "evaluation": None,
            "out": str(out),
            "recipe": "int8",
            "bench_seconds": 0.05,
        }
        return optimize(OptimizeRequest(**{**fields, **changes}), progress=progress, cancel=cancel)

    return start


def test_two_engines_are_built_measured_and_gated(run, tmp_path):
    result = run()

    assert result.verdict == "accepted"
    assert [candidate.name for candidate in result.candidates] == ["fp32", "int8"]
    assert result.baseline == result.candidates[0]
    assert result.chosen in result.candidates
    for candidate in result.candidates:
        assert candidate.latency_ms.samples >= 100
        assert candidate.fidelity.measured_on == "calibration"
        assert candidate.fidelity.samples == 40
        assert candidate.build_s is not None
        assert candidate.build_memory_mb > 0
        assert (candidate.energy_mj is None) is bool(candidate.energy_reason)
    assert result.candidates[1].fidelity.sqnr_db > 25


def test_every_candidate_is_a_finished_engine_that_carries_its_measurement(run, tmp_path):
    result = run(model_name="m", deployment="d-1", model_version="7")

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["fp32", "int8"]
    for candidate in result.candidates:
        manifest = check_folder(tmp_path / "out" / candidate.name, trusted_by_user()).manifest
        assert manifest.candidate == candidate
        assert (manifest.model, manifest.deployment, manifest.model_version) == ("m", "d-1", "7")
        assert manifest.fingerprint == candidate.fingerprint
    assert len({candidate.fingerprint for candidate in result.candidates}) == 2


def test_engines_that_ended_an_earlier_worker_while_they_were_measured_are_not_measured_again(run):
    def lost(name):
        return (LostStep(name=f"measuring {name}", reason=Reason("out-of-memory", "too much", "Allow more", "unfit")),)

    assert [candidate.name for candidate in run(lost=lost("int8")).candidates] == ["fp32"]
    with pytest.raises(Unfit) as caught:
        run(lost=lost("fp32"))
    assert (caught.value.code, caught.value.message) == ("out-of-memory", "too much")


def test_evaluation_samples_are_used_where_there_are_some(run, models, tmp_path):
    path = models.save_samples(tmp_path / "evaluation.npz", 12, seed=5, labels=np.arange(12) % 4)

    fidelity = run(evaluation=str(path)).candidates[1].fidelity

    assert fidelity.measured_on == "evaluation"
    assert fidelity.samples == 12
    assert fidelity.top1 is not None


def test_a_budget_that_nothing_meets_is_rejected_with_its_reasons(run):
    result = run(budget=Budget(max_latency_p99_ms=1e-6, max_size_bytes=10_000_000))

    assert result.verdict == "rejected"
    assert [reason.code for reason in result.reasons] == ["budget"]
    assert "max_latency_p99_ms" in result.reasons[0].message
    assert {check.limit: check.outcome for check in result.checks} == {"max_latency_p99_ms": "exceeded", "max_size_bytes": "met"}


def test_what_cannot_be_measured_is_not_passed(run):
    result = run(recipe="none", calibration=None, budget=Budget(min_sqnr_db=10.0))

    assert result.verdict == "rejected"
    assert result.reasons[0].code == "unmeasured"


def test_the_recipe_none_needs_no_data(run):
    result = run(recipe="none", calibration=None)

    assert [candidate.name for candidate in result.candidates] == ["fp32"]
    assert result.candidates[0].fidelity is None
    assert any("fidelity was not measured" in note for note in result.notes)


def test_a_model_with_nothing_to_quantise_stays_as_it_is(run, models, tmp_path, tiny_samples):
    proto = models.model([models.node("Relu", ["input"], ["y"])], {"input": ["N", 3, 8, 8]}, {"y": None})

    result = run(model=str(models.save(proto, tmp_path / "relu.onnx")))

    assert [candidate.name for candidate in result.candidates] == ["fp32"]
    assert any("can be quantised" in note for note in result.notes)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"recipe": "magic"}, "recipe-unknown"),
        ({"calibration": None}, "calibration-missing"),
        ({"backend": "magic"}, "unknown-plugin"),
        ({"calibration": "/nowhere"}, "dataset-missing"),
        ({"model": "/nowhere.onnx"}, "model-missing"),
        ({"method": "magic"}, "method-unknown"),
    ],
)
def test_wrong_requests_are_refused(run, changes, code):
    with pytest.raises(Rejected) as caught:
        run(**changes)

    assert caught.value.code == code


def test_a_prescribed_batch_refuses_another(run, models, tmp_path):
    path = models.save(models.classifier(batch=2), tmp_path / "fixed.onnx")

    with pytest.raises(Rejected) as caught:
        run(model=str(path), batch=8)

    assert caught.value.code == "batch-fixed"
    assert run(model=str(path)).candidates[0].conditions.batch == 2


def test_progress_goes_up_to_one(run):
    shares = []

    run(progress=lambda share, _note: shares.append(share))

    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize("when", [0.3, 0.7, 0.86])
def test_a_run_can_be_cancelled_in_every_stage(run, when):
    shares = [0.0]

    with pytest.raises(Unfit) as caught:
        run(cancel=lambda: shares[-1] >= when, progress=lambda share, _note: shares.append(share))

    assert caught.value.code == "cancelled"


def test_a_failed_run_leaves_no_unfinished_folder(run, models, tmp_path):
    bad = models.samples(5)
    bad[3] = np.nan
    np.savez(tmp_path / "bad.npz", input=bad)

    with pytest.raises(Rejected) as caught:
        run(calibration=str(tmp_path / "bad.npz"))

    assert caught.value.code == "dataset-not-finite"
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".") or path.name == "calibration"]


def test_the_null_backend_goes_through_every_stage(run, monkeypatch):
    monkeypatch.setenv("EDGEWRIGHT_NULL_BACKEND", "1")

    result = run(backend="null")

    assert {candidate.backend for candidate in result.candidates} == {"null"}
    assert result.candidates[0].conditions.provider == "null"


def test_a_recipe_with_passes_adds_candidates_of_the_compressed_model(run, wide_classifier, tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('quantize = true\n[[passes]]\nname = "fold"\n[[passes]]\nname = "share_weights"\nratio = 4.0\n')

    result = run(recipe="mine", recipe_file=str(recipe), model=str(wide_classifier))

    assert [candidate.name for candidate in result.candidates] == ["fp32", "int8", "mine", "mine-int8"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["fp32", "int8", "mine", "mine-int8"]
    assert all(check_folder(tmp_path / "out" / candidate.name, trusted_by_user()) for candidate in result.candidates)
    assert result.candidates[2].fidelity.sqnr_db > 10


def test_a_compressed_model_that_cannot_be_built_costs_the_originals_engines_nothing(run, wide_classifier, tmp_path, monkeypatch):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('quantize = true\n[[passes]]\nname = "fold"\n[[passes]]\nname = "share_weights"\nratio = 4.0\n')

    def refuse_mine(name, *arguments, **options):
        if name == "mine":
            raise Unfit("out-of-memory", "too large", "Use a smaller one")
        return build_engine(name, *arguments, **options)

    monkeypatch.setattr("edgewright.pipeline.climb.build_engine", refuse_mine)

    result = run(recipe="mine", recipe_file=str(recipe), model=str(wide_classifier))

    assert [candidate.name for candidate in result.candidates] == ["fp32", "int8"]
    assert any("mine could not be built: too large" in note for note in result.notes)


def test_a_coded_model_is_decoded_before_anything_else(run, tiny_classifier, tmp_path):
    from edgewright.compression.codec.container import write_coded

    write_coded(tiny_classifier, tmp_path / "model.ewz")

    plain, coded = run(recipe="none", calibration=None), run(recipe="none", calibration=None, model=str(tmp_path / "model.ewz"), out=_new(tmp_path))

    assert coded.verdict == "accepted"
    assert coded.verdict == plain.verdict
    assert coded.baseline.size_bytes > 0
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == ["fp32"]


def _new(folder):
    (folder / "again").mkdir()
    return str(folder / "again")


def test_a_recipe_that_needs_samples_is_refused_without_any(run):
    with pytest.raises(Rejected) as refused:
        run(recipe="small", calibration=None)

    assert refused.value.code == "calibration-missing"


def test_a_recipe_that_gains_nothing_adds_no_candidate_and_says_why(run):
    result = run(recipe="small")

    assert [candidate.name for candidate in result.candidates] == ["fp32", "small"]
    assert any(note.startswith("share_weights did nothing: 8 times smaller cannot be reached") for note in result.notes)
