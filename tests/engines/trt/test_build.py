"""Building with each release: the fake has only the names that its real bindings have, so that a use of another one fails here."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
from edgewright.core.errors import Rejected, Unfit
from edgewright.engines.base import BuildOptions, ShapeProfile
from edgewright.engines.trt.build import build_plan

RELEASES = ("8.6", "10.3", "10.13", "10.16", "11.0", "11.4", "rtx-1.7")
FLAGGED = ("8.6", "10.3", "10.13", "10.16")
CACHE = b"TRT-8601-EntropyCalibration2\ninput: 3c008912\nc1: 3c88edfc\n"


@pytest.fixture
def build(binding_of, tiny_classifier, tmp_path, settings):
    """``build(release, **options)`` → what TensorRT was told."""

    def run(release, *, model=tiny_classifier, progress=lambda _share, _note: None, **options):
        folder = tmp_path / "engine"
        folder.mkdir(exist_ok=True)
        build_plan(binding_of(release), model, folder, BuildOptions(**options), progress)
        return settings.builds[-1][1]

    return run


@pytest.mark.parametrize("release", RELEASES)
def test_builds_a_plan_with_every_release(build, release, tmp_path):
    told = build(release, workspace_mb=64, optimization_level=3)

    assert told["flags"] == []
    assert told["pools"] == {"WORKSPACE": 64 << 20}
    assert (tmp_path / "engine" / "model.plan").stat().st_size > 0


@pytest.mark.parametrize("release", RELEASES)
def test_a_free_first_axis_becomes_the_batch(build, release):
    told = build(release, batch=4)

    assert told["profiles"] == [{"input": ((4, 3, 8, 8),) * 3}]


@pytest.mark.parametrize("release", RELEASES)
def test_a_profile_of_the_card_is_used_as_it_is(build, release):
    profile = ShapeProfile((1, 3, 8, 8), (2, 3, 8, 8), (8, 3, 8, 8))

    assert build(release, profiles={"input": profile})["profiles"] == [{"input": ((1, 3, 8, 8), (2, 3, 8, 8), (8, 3, 8, 8))}]


@pytest.mark.parametrize("release", RELEASES)
def test_other_free_axes_need_a_profile_and_the_error_prints_one(build, release, models, tmp_path):
    proto = models.model([models.node("Relu", ["frame 1"], ["y"])], {"frame 1": ["N", 3, "H", "W"]}, {"y": ["N", 3, "H", "W"]})

    with pytest.raises(Rejected) as caught:
        build(release, model=models.save(proto, tmp_path / "free.onnx"))

    assert caught.value.code == "profile-missing"
    assert '[inputs."frame 1"]\nshape_min = [1, 3, 32, 32]\nshape_opt = [1, 3, 256, 256]\nshape_max = [8, 3, 1024, 1024]' in caught.value.next_step


@pytest.mark.parametrize(("precision", "flags"), [("fp32", []), ("fp16", ["FP16"]), ("int8", ["INT8"]), ("mixed", ["FP16", "INT8"])])
@pytest.mark.parametrize("release", FLAGGED)
def test_precision_is_a_matter_of_flags_before_11(build, release, precision, flags, tmp_path):
    (tmp_path / "ranges.cache").write_bytes(CACHE)

    told = build(release, precision=precision, calibration_cache=tmp_path / "ranges.cache")

    assert told["flags"] == flags
    assert (told["creation"], told["typed"]) == (1, False)


HALF, FLOAT = 10, 1


def typed_model(models, path, *, dtype, quantized):
    """y = x, through a pair of Q/DQ nodes when it is `quantized`."""
    if not quantized:
        return models.save(models.model([models.node("Relu", ["x"], ["y"])], {"x": ["N", 3]}, {"y": ["N", 3]}, dtype=dtype), path)
    nodes = [models.node("QuantizeLinear", ["x", "s", "z"], ["q"]), models.node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    weights = {"s": (np.float16 if dtype == HALF else np.float32)(0.1), "z": np.int8(0)}
    return models.save(models.model(nodes, {"x": ["N", 3]}, {"y": ["N", 3]}, weights, dtype=dtype), path)


TYPED_ON_10 = [
    # precision, the model's float type, Q/DQ → strongly typed, flags
    ("fp16", HALF, False, True, []),
    ("fp16", FLOAT, False, False, ["FP16"]),
    ("int8", FLOAT, True, True, []),
    ("mixed", HALF, True, True, []),
    ("mixed", FLOAT, True, False, ["FP16", "INT8"]),
    ("fp32", FLOAT, False, False, []),
]


@pytest.mark.parametrize(("precision", "dtype", "quantized", "is_typed", "flags"), TYPED_ON_10)
@pytest.mark.parametrize("release", [release for release in FLAGGED if release != "8.6"])
def test_a_model_that_says_its_types_is_strongly_typed_on_10(build, release, models, tmp_path, precision, dtype, quantized, is_typed, flags):
    model = typed_model(models, tmp_path / "typed.onnx", dtype=dtype, quantized=quantized)

    told = build(release, model=model, precision=precision)

    assert (told["typed"], told["flags"]) == (is_typed, flags)


@pytest.mark.parametrize(("precision", "flags"), [("fp16", ["FP16"]), ("int8", ["INT8"]), ("mixed", ["FP16", "INT8"])])
def test_8_6_has_flags_alone(build, models, tmp_path, precision, flags):
    model = typed_model(models, tmp_path / "typed.onnx", dtype=HALF, quantized=precision != "fp16")

    told = build("8.6", model=model, precision=precision)

    assert (told["typed"], told["flags"]) == (False, flags)


@pytest.mark.parametrize(("precision", "flag"), [("fp16", "FP16"), ("int8", "INT8")])
def test_a_dla_takes_its_precision_from_flags_while_there_are_any(build, settings, models, tmp_path, precision, flag):
    settings.dla_cores = 1
    model = typed_model(models, tmp_path / "typed.onnx", dtype=HALF, quantized=precision == "int8")

    told = build("10.3", model=model, precision=precision, dla_core=0)

    assert (told["typed"], told["flags"]) == (False, sorted([flag, "GPU_FALLBACK"]))


@pytest.mark.parametrize("release", [release for release in RELEASES if release not in FLAGGED])
def test_precision_is_a_matter_of_types_from_11_on(build, release, models, tmp_path):
    half = models.model([models.node("Relu", ["x"], ["y"])], {"x": ["N", 3]}, {"y": ["N", 3]}, dtype=10)

    told = build(release, model=models.save(half, tmp_path / "half.onnx"), precision="fp16")

    assert told["flags"] == []
    assert told["creation"] == 1


@pytest.mark.parametrize("precision", ["fp16", "mixed"])
def test_a_model_without_half_precision_is_not_called_that_from_11_on(build, precision):
    with pytest.raises(Rejected) as caught:
        build("11.4", precision=precision)

    assert caught.value.code == "half-missing"
    assert "--precision fp16" in caught.value.next_step


@pytest.mark.parametrize("release", [release for release in RELEASES if release not in FLAGGED])
def test_int8_without_q_dq_is_refused_from_11_on(build, release, tmp_path):
    (tmp_path / "ranges.cache").write_bytes(CACHE)

    with pytest.raises(Rejected) as caught:
        build(release, precision="int8", calibration_cache=tmp_path / "ranges.cache")

    assert caught.value.code == "calibration-missing"


@pytest.mark.parametrize(("release", "number"), [("8.6", 8601), ("10.3", 100300), ("10.13", 101303), ("10.16", 101601)])
def test_the_calibration_cache_is_read_in_the_name_of_the_release(build, release, number, tmp_path):
    (tmp_path / "ranges.cache").write_bytes(CACHE)

    told = build(release, precision="int8", calibration_cache=tmp_path / "ranges.cache")

    assert told["table"] == f"TRT-{number}-EntropyCalibration2\ninput: 3c008912\nc1: 3c88edfc\n"
    assert told["batches"] == []


@pytest.mark.parametrize("release", FLAGGED)
def test_without_a_cache_batches_go_through_device_memory(build, release, models, tmp_path, memory):
    samples = models.samples(7)
    batches = [{"input": samples[start : start + 2]} for start in range(0, 7, 2)]

    told = build(release, precision="int8", batch=2, calibration_batches=lambda: iter(batches))

    # The last batch is not whole: TensorRT calibrates on whole ones.
    expected = [{"input": samples[start].ravel()[:4].tolist()} for start in (0, 2, 4)]
    assert expected == told["batches"]
    assert (tmp_path / "engine" / "calibration.cache").read_bytes().startswith(b"TRT-1-")
    assert memory.driver.retained == 0


@pytest.mark.parametrize("release", FLAGGED)
def test_a_model_with_q_dq_is_not_calibrated_again(build, release, models, tmp_path):
    nodes = [models.node("QuantizeLinear", ["x", "s", "z"], ["q"]), models.node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    proto = models.model(nodes, {"x": ["N", 3]}, {"y": ["N", 3]}, {"s": np.float32(0.1), "z": np.int8(0)})
    (tmp_path / "ranges.cache").write_bytes(CACHE)

    told = build(release, model=models.save(proto, tmp_path / "qdq.onnx"), precision="int8", calibration_cache=tmp_path / "ranges.cache")

    assert told["table"] is None
    assert told["flags"] == (["INT8"] if release == "8.6" else [])


@pytest.mark.parametrize("content", [b"", b"nonsense", b"TRT-8601-Other\nx: 0\n", b"TRT-8601-EntropyCalibration2\n"])
def test_a_cache_that_is_none_is_refused(build, tmp_path, content):
    (tmp_path / "ranges.cache").write_bytes(content)

    with pytest.raises(Rejected) as caught:
        build("10.3", precision="int8", calibration_cache=tmp_path / "ranges.cache")

    assert caught.value.code == "calibration-cache-unreadable"


def test_int8_with_nothing_to_calibrate_is_refused(build):
    with pytest.raises(Rejected) as caught:
        build("10.3", precision="int8")

    assert caught.value.code == "calibration-missing"


@pytest.mark.parametrize("release", RELEASES)
def test_progress_never_goes_back(build, release):
    shares = []

    build(release, progress=lambda share, _note: shares.append(share))

    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) > 5


@pytest.mark.parametrize("release", [release for release in RELEASES if release != "8.6"])
def test_what_progress_raises_cancels_the_build(build, release, settings):
    class EnoughError(Exception):
        pass

    def progress(share, _note):
        if share > 0.3:
            raise EnoughError

    with pytest.raises(EnoughError):
        build(release, progress=progress)

    assert settings.builds == []


@pytest.mark.parametrize("release", RELEASES)
def test_names_the_node_and_the_operator_that_are_refused(build, release, models, tmp_path):
    nodes = [models.node("Relu", ["x"], ["r"]), models.node("Frobnicate", ["r"], ["y"], name="odd one", domain="com.acme")]
    proto = models.model(nodes, {"x": ["N", 3]}, {"y": ["N", 3]}, domains={"com.acme": 1})

    with pytest.raises(Rejected) as caught:
        build(release, model=models.save(proto, tmp_path / "odd.onnx"))

    assert caught.value.code == "operator-unsupported"
    assert "node 1 'odd one' (Frobnicate): Plugin not found" in caught.value.message


@pytest.mark.parametrize("release", RELEASES)
def test_a_truncated_model_is_unreadable(build, release, tiny_classifier, tmp_path):
    content = tiny_classifier.read_bytes()
    (tmp_path / "half.onnx").write_bytes(content[: len(content) // 2])

    with pytest.raises(Rejected) as caught:
        build(release, model=tmp_path / "half.onnx")

    assert caught.value.code == "model-unreadable"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("Error Code 2: OutOfMemory (Requested size was 8589934592 bytes.)", "out-of-memory"),
        ("[virtualMemoryBuffer.cpp::resizePhysical::154] Error Code 2: OutOfMemory (no further information)", "out-of-memory"),
        ("Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode[...]}.)", "build-refused"),
        ("Error Code 1: Cuda Runtime (CUDA initialization failure with error: 35.)", "backend-unavailable"),
    ],
)
def test_the_builders_own_words_say_what_failed(build, settings, words, code):
    settings.failure = words

    with pytest.raises((Rejected, Unfit)) as caught:
        build("10.3")

    assert caught.value.code == code


def test_without_a_gpu_the_device_is_unfit(build, settings):
    settings.has_device = False

    with pytest.raises(Unfit) as caught:
        build("10.3")

    assert caught.value.code == "backend-unavailable"


@pytest.mark.parametrize("release", RELEASES)
def test_a_dla_is_asked_of_the_builder_and_not_of_the_enumeration(build, release, settings):
    with pytest.raises(Unfit) as caught:
        build(release, dla_core=0)
    assert caught.value.code == "dla-unavailable"

    settings.dla_cores = 2
    told = build(release, dla_core=1)

    config = settings.builds[-1][0]
    assert (config.DLA_core, config.default_device_type.name) == (1, "DLA")
    assert told["flags"] == (["FP16", "GPU_FALLBACK"] if release in FLAGGED else ["GPU_FALLBACK"])


def test_options_are_flags_where_the_release_has_them(build, settings):
    told = build("10.3", is_sparse=True, is_refittable=True, is_stripped=True, compatibility="version")
    assert told["flags"] == ["REFIT", "SPARSE_WEIGHTS", "STRIP_PLAN", "VERSION_COMPATIBLE"]

    build("10.3", compatibility="hardware")
    assert settings.builds[-1][0].hardware_compatibility_level.name == "AMPERE_PLUS"


def test_an_option_that_the_release_lacks_is_refused(build):
    with pytest.raises(Rejected) as caught:
        build("8.6", is_stripped=True)

    assert caught.value.code == "option-unsupported"
    assert "STRIP_PLAN" in caught.value.message


@pytest.mark.parametrize("release", [release for release in RELEASES if not release.startswith("rtx")])
def test_timings_are_kept_and_merged(build, release, tmp_path, models):
    cache = tmp_path / "timing.cache"
    build(release, timing_cache=cache)
    first = set(cache.read_bytes().partition(b"\n")[2].split())
    tanh = models.model([models.node("Tanh", ["x"], ["y"])], {"x": ["N", 3]}, {"y": ["N", 3]})

    build(release, model=models.save(tanh, tmp_path / "tanh.onnx"), timing_cache=cache)

    assert {b"Conv", b"Gemm"} <= first
    assert first | {b"Tanh"} == set(cache.read_bytes().partition(b"\n")[2].split())


def test_timings_of_another_release_are_replaced(build, tmp_path):
    cache = tmp_path / "timing.cache"
    build("10.3", timing_cache=cache)
    build("10.13", timing_cache=cache)

    assert cache.read_bytes().startswith(b"10.13.3.9SM87\n")


def test_timings_that_came_meanwhile_stay(build, tmp_path):
    """Another build finishes between this one's start and its end."""
    cache = tmp_path / "timing.cache"
    build("10.3", timing_cache=cache)
    other = cache.read_bytes() + b" Elsewhere"
    added = threading.Event()

    def progress(share, _note):
        if 0.2 < share < 1 and not added.is_set():
            cache.write_bytes(other)
            added.set()

    build("10.3", timing_cache=cache, progress=progress)

    assert added.is_set()
    assert {b"Conv", b"Elsewhere"} <= set(cache.read_bytes().partition(b"\n")[2].split())


@pytest.mark.parametrize("release", RELEASES)
def test_a_build_reports_progress_with_the_collector_off(binding_of, tiny_classifier, tmp_path, release):
    states = []

    build_plan(binding_of(release), tiny_classifier, tmp_path, BuildOptions(), lambda share, _note: states.append((share, gc.isenabled())))

    assert len(states) > 2
    assert not any(is_on for _share, is_on in states)
    assert gc.isenabled()
