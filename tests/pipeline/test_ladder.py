"""Which engines are tried, as values; and a whole climb over a fake TensorRT of each release."""

from __future__ import annotations

import struct
from functools import partial
from pathlib import Path

import edgewright
import numpy as np
import onnx
import pytest
from edgewright.core.budget import Budget
from edgewright.core.errors import Unfit
from edgewright.engines import discovery
from edgewright.engines.base import Capabilities
from edgewright.engines.model import is_half, is_quantized
from edgewright.pipeline import measure
from edgewright.pipeline.ladder import ladder
from edgewright.pipeline.optimize import optimize
from edgewright.pipeline.request import OptimizeRequest

ALL = frozenset({"model", "onnxruntime-qdq", "tensorrt-qdq", "tensorrt-fp16", "tensorrt-mixed", "calibration-cache"})
FLAGGED = Capabilities("10.3", "Orin", ("fp32", "fp16", "int8", "mixed"), "tensorrt", is_plan_portable=False, takes_types=True)
TYPED = Capabilities("11.4", "Thor", ("fp32", "fp16", "int8", "mixed"), "tensorrt", is_plan_portable=False, is_strongly_typed=True, takes_types=True)
CPU = Capabilities("1", "cpu", ("fp32", "int8"), "onnxruntime-x86_64")


def names(backend, capabilities, sources=ALL, *, with_int8=True, with_fallback=True):
    return [(rung.name, rung.source) for rung in ladder(backend, capabilities, sources, with_int8=with_int8, with_fallback=with_fallback).rungs]


def test_onnxruntime_has_two_rungs():
    assert names("onnxruntime", CPU) == [("fp32", "model"), ("int8", "onnxruntime-qdq")]
    assert names("onnxruntime", CPU, with_int8=False) == [("fp32", "model")]


def test_precision_flags_build_from_q_dq_and_the_original():
    assert names("tensorrt", FLAGGED, ALL - {"tensorrt-fp16", "tensorrt-mixed"}) == [
        ("fp32", "model"), ("onnxruntime-fp32", "model"), ("fp16", "model"), ("mixed", "tensorrt-qdq"), ("int8", "tensorrt-qdq"),
        ("onnxruntime-int8", "onnxruntime-qdq"),
    ]  # fmt: skip


def test_where_a_model_may_say_its_types_fp16_and_the_mixed_one_do():
    assert ("fp16", "tensorrt-fp16") in names("tensorrt", FLAGGED)
    assert ("mixed", "tensorrt-mixed") in names("tensorrt", FLAGGED)


def test_without_q_dq_the_calibration_cache_serves():
    sources = ALL - {"tensorrt-qdq"}

    assert ("int8", "calibration-cache") in names("tensorrt", FLAGGED, sources)
    assert ("int8", "calibration-cache") not in names("tensorrt", TYPED, sources)


def test_strong_typing_builds_each_precision_from_its_own_file():
    assert names("tensorrt", TYPED, with_fallback=False) == [
        ("fp32", "model"), ("fp16", "tensorrt-fp16"), ("mixed", "tensorrt-mixed"), ("int8", "tensorrt-qdq"),
    ]  # fmt: skip


def test_what_is_not_tried_has_a_reason():
    found = ladder("tensorrt", TYPED, frozenset({"model"}), with_int8=True, with_fallback=False)

    assert [rung.name for rung in found.rungs] == ["fp32"]
    assert any(note.startswith("fp16 was not tried") for note in found.notes)
    assert any(note.startswith("int8 was not tried") for note in found.notes)


def test_hardware_without_fast_int8_is_not_offered_it():
    slow = Capabilities("8.6", "Nano", ("fp32", "fp16"), "tensorrt", is_plan_portable=False)

    found = ladder("tensorrt", slow, ALL, with_int8=True, with_fallback=False)

    assert [rung.name for rung in found.rungs] == ["fp32", "fp16"]
    assert any("int8" in note and "on this device" in note for note in found.notes)


# --- a whole climb ---

TYPES = {"fp32": (False, False), "fp16": (True, False), "mixed": (True, True), "int8": (False, True)}
"""Whether the plans of a strongly typed device hold half precision and Q/DQ."""


def half_and_quantised(plan):
    """What the fake's plan, which ends in its model, is made of."""
    data = plan.read_bytes()
    head, _ = struct.unpack("<II", data[10:18])
    proto = onnx.ModelProto.FromString(data[18 + head :])
    return is_half(proto), is_quantized(proto)


@pytest.fixture
def climb(tiny_classifier, tiny_samples, tmp_path, monkeypatch):
    # How fast the rungs are is not asked here: nothing needs to be warm.
    monkeypatch.setattr(measure, "measure_interleaved", partial(measure.measure_interleaved, warmup_s=0.0))

    def run(out="out", **changes):
        out = tmp_path / out
        out.mkdir(parents=True)
        fields = {
            "model": str(tiny_classifier),
            "calibration": str(tiny_samples),
            "evaluation": None,
            "out": str(out),
            "recipe": "int8",
            "bench_seconds": 0.05,
        }
        return optimize(OptimizeRequest(**{**fields, **changes}), progress=lambda *_: None, cancel=lambda: False)

    return run


@pytest.mark.parametrize("release", ["8.6", "10.3", "10.16"])
def test_on_a_device_with_precision_flags_every_rung_is_measured(jetson, climb, release):
    told = jetson(release)

    result = climb()

    names = [candidate.name for candidate in result.candidates]
    assert names[:3] == ["fp32", "onnxruntime-fp32", "fp16"]
    assert names[-1] == "onnxruntime-int8"
    assert result.baseline.name == "fp32"
    assert {candidate.backend for candidate in result.candidates} == {"tensorrt", "onnxruntime"}
    for candidate in result.candidates:
        assert candidate.latency_ms.samples >= 100
        assert candidate.fidelity is not None
    if release != "8.6":
        types = {candidate.name: half_and_quantised(Path(candidate.path)) for candidate in result.candidates if candidate.name in TYPES}
        assert types == TYPES
    assert any("FP16" in meta["flags"] for _, meta in told.builds) is (release == "8.6")
    assert {meta["typed"] for _, meta in told.builds if meta["flags"]} <= {False}
    assert any(meta["typed"] for _, meta in told.builds) is (release != "8.6")
    # Every engine that is not chosen has its reason, every one that is its ratio.
    assert len(result.notes) >= len(result.candidates) - 1


def test_on_a_device_with_strong_typing_the_original_is_fp32(jetson, climb):
    jetson("11.4")

    result = climb()

    assert [candidate.name for candidate in result.candidates] == ["fp32", "onnxruntime-fp32", "fp16", "mixed", "int8", "onnxruntime-int8"]
    assert [candidate.precision for candidate in result.candidates] == ["fp32", "fp32", "fp16", "mixed", "int8", "int8"]
    types = {name: half_and_quantised(Path(candidate.path)) for candidate in result.candidates if (name := candidate.name) in TYPES}
    assert types == TYPES
    for candidate in result.candidates:
        assert candidate.fidelity is not None
        assert candidate.fidelity.sqnr_db > 20


@pytest.mark.parametrize("recipe", ["none", "int8"])
def test_the_files_of_strong_typing_are_kept_for_the_next_run(jetson, climb, tmp_path, monkeypatch, recipe):
    from edgewright.pipeline import halving

    jetson("11.4")
    changes = {"cache": str(tmp_path / "cache"), "recipe": recipe} | ({"calibration": None} if recipe == "none" else {})
    first = climb(**changes)
    monkeypatch.setattr(halving, "write_half", None)

    second = climb(out="again", **changes)

    assert [candidate.name for candidate in first.candidates] == [candidate.name for candidate in second.candidates]
    assert "fp16" in [candidate.name for candidate in second.candidates]
    assert all(candidate.is_cached for candidate in second.candidates)


def test_a_model_that_has_no_half_precision_keeps_its_other_rungs(jetson, climb, models, tmp_path):
    jetson("11.4")
    softmax = models.model([models.node("Softmax", ["x"], ["y"])], {"x": ["N", 3]}, {"y": ["N", 3]})

    result = climb(model=str(models.save(softmax, tmp_path / "softmax.onnx")), recipe="none", calibration=None)

    assert [candidate.name for candidate in result.candidates] == ["fp32", "onnxruntime-fp32"]
    assert any("every node stays in float" in note for note in result.notes)


def test_an_accelerator_that_refuses_everything_leaves_onnxruntime(jetson, climb):
    jetson("10.3", failure="Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode[c1...]}.)")

    result = climb()

    assert [candidate.name for candidate in result.candidates] == ["onnxruntime-fp32", "onnxruntime-int8"]
    assert result.baseline.name == "onnxruntime-fp32"
    assert any(note.startswith("fp32 could not be built") and "Could not find any implementation" in note for note in result.notes)


@pytest.fixture
def deployed(climb, tmp_path):
    """``deployed("fp16", **changes)`` makes that engine the current one of the model ``m``, in the state folder that is handed back."""

    def run(name, **changes):
        state = tmp_path / "state"
        climb("state/models/m/slots", identity=str(state), **changes)
        (state / "models" / "m" / "current").symlink_to(Path("slots") / name)
        return state

    return run


@pytest.mark.parametrize(("old", "new"), [("8.6", "10.3"), ("10.3", "10.13"), ("10.16", "11.4")])
def test_an_application_restarts_after_an_update_of_jetpack_on_a_plan_for_later_releases(jetson, deployed, models, old, new):
    jetson(old)
    state = deployed("fp16", compatibility="version")
    with edgewright.open("m", state) as model:
        before = model.infer({"input": models.samples(1)})

    jetson(new)

    with edgewright.open("m", state) as model:
        after = model.infer({"input": models.samples(1)})
        assert (model.manifest.backend, model.manifest.precision) == ("tensorrt", "fp16")
    np.testing.assert_array_equal(before["logits"], after["logits"])


def test_without_it_the_plan_is_refused_by_name(jetson, deployed):
    jetson("10.3")
    state = deployed("fp16")

    jetson("10.13")

    with pytest.raises(Unfit) as caught:
        edgewright.open("m", state)
    assert caught.value.code == "engine-foreign"


def test_an_onnx_file_needs_no_compatibility(jetson, deployed, models):
    jetson("10.3")
    state = deployed("onnxruntime-fp32", compatibility="version")

    jetson("10.13")

    with edgewright.open("m", state) as model:
        assert model.infer({"input": models.samples(1)})["logits"].shape == (1, 4)


def test_a_named_backend_does_not_fall_back(jetson, climb):
    jetson("10.3", failure="Error Code 2: OutOfMemory (no further information)")

    with pytest.raises(Unfit) as caught:
        climb(backend="tensorrt")

    assert caught.value.code == "out-of-memory"


def test_the_budgets_time_ends_the_climb(jetson, climb, monkeypatch):
    """Each build seems to take an hour: after the first there is no time for another."""
    from edgewright.pipeline import climb as module

    jetson("10.3")
    clock = iter(range(0, 10**9, 3600))
    monkeypatch.setattr("edgewright.pipeline.build.time.monotonic", lambda: next(clock))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))

    result = climb(budget=Budget(max_build_s=7200, on_unmeasured="allow"))

    assert [candidate.name for candidate in result.candidates] == ["fp32"]
    assert any("onnxruntime-int8 was not tried" in note or "int8 was not tried" in note for note in result.notes)


def test_the_accelerator_is_preferred_where_it_is_usable(jetson):
    assert discovery.usable_backend(None)[0] == "onnxruntime"

    jetson("10.3")

    assert discovery.usable_backend(None)[0] == "tensorrt"
