"""Execution providers and options, as values: what is handed to ONNX Runtime on a machine that has them."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgewright.core.errors import Unfit
from edgewright.engines.base import BuildOptions, ShapeProfile
from edgewright.engines.ort.providers import CPU, CUDA, TENSORRT, unsupported, wanted_providers, with_options

ALL = [TENSORRT, CUDA, CPU]


@pytest.mark.parametrize(
    ("available", "has_gpu", "expected"),
    [(ALL, True, ALL), (ALL, False, [CPU]), ([CPU], True, [CPU]), (["AzureExecutionProvider", CPU], False, [CPU])],
)
def test_by_default_the_best_that_can_be_used_comes_first(available, has_gpu, expected):
    assert wanted_providers(BuildOptions(), available, has_gpu=has_gpu) == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("tensorrt", ALL), ("cuda", [CUDA, CPU]), ("CPU", [CPU]), (CUDA, [CUDA, CPU]), ("AzureExecutionProvider", ["AzureExecutionProvider", CPU])],
)
def test_what_is_asked_for_comes_first_and_the_cpu_last(asked, expected):
    assert wanted_providers(BuildOptions(provider=asked), [*ALL, "AzureExecutionProvider"], has_gpu=False) == expected


def test_what_is_not_there_is_refused():
    with pytest.raises(Unfit) as caught:
        wanted_providers(BuildOptions(provider="cuda"), [CPU], has_gpu=True)

    assert caught.value.code == "provider-unusable"
    assert CPU in caught.value.next_step


def test_tensorrt_keeps_plans_beside_the_engine_and_timings_where_the_device_has_them():
    options = BuildOptions(
        precision="int8", workspace_mb=256, optimization_level=4, timing_cache=Path("/cache/t.cache"), calibration_cache=Path("/c/x.cache")
    )

    found = dict(with_options([TENSORRT], options, Path("/engine")))[TENSORRT]

    assert found["trt_engine_cache_enable"] == found["trt_timing_cache_enable"] == "True"
    assert (found["trt_engine_cache_path"], found["trt_timing_cache_path"]) == ("/engine", "/cache")
    assert (found["trt_fp16_enable"], found["trt_int8_enable"]) == ("True", "True")
    assert found["trt_int8_calibration_table_name"] == "x.cache"
    assert found["trt_max_workspace_size"] == str(256 << 20)
    assert found["trt_builder_optimization_level"] == "4"


def test_fp32_sets_no_precision():
    found = dict(with_options([TENSORRT], BuildOptions(), Path("/engine")))[TENSORRT]

    assert (found["trt_fp16_enable"], found["trt_int8_enable"]) == ("False", "False")
    assert not any(key.startswith(("trt_profile", "trt_dla", "trt_int8_cal")) for key in found)


def test_profiles_are_written_as_onnxruntime_reads_them():
    profiles = {"a": ShapeProfile((1, 3), (2, 3), (4, 3)), "b": ShapeProfile((1,), (1,), (1,))}

    found = dict(with_options([TENSORRT], BuildOptions(profiles=profiles), Path("/engine")))[TENSORRT]

    assert found["trt_profile_min_shapes"] == "a:1x3,b:1"
    assert found["trt_profile_opt_shapes"] == "a:2x3,b:1"
    assert found["trt_profile_max_shapes"] == "a:4x3,b:1"


def test_special_hardware_is_asked_for_by_its_options():
    found = dict(with_options([TENSORRT], BuildOptions(dla_core=1, is_sparse=True, compatibility="hardware"), Path("/e")))[TENSORRT]

    assert (found["trt_dla_enable"], found["trt_dla_core"]) == ("True", "1")
    assert found["trt_sparsity_enable"] == found["trt_engine_hw_compatible"] == "True"


def test_cuda_searches_its_convolutions_once_and_keeps_to_its_memory():
    found = dict(with_options([CUDA, CPU], BuildOptions(device_id=1, workspace_mb=100), Path("/e")))

    assert found[CUDA]["device_id"] == "1"
    assert found[CUDA]["cudnn_conv_algo_search"] == "EXHAUSTIVE"
    assert found[CUDA]["gpu_mem_limit"] == str(100 << 20)
    assert found[CPU] == {}


def test_every_option_name_is_one_that_the_tensorrt_provider_knows():
    """The names in the provider library of onnxruntime-gpu 1.31.1."""
    known = {
        "device_id", "trt_max_workspace_size", "trt_fp16_enable", "trt_int8_enable", "trt_int8_calibration_table_name",
        "trt_int8_use_native_calibration_table", "trt_dla_enable", "trt_dla_core", "trt_engine_cache_enable", "trt_engine_cache_path",
        "trt_engine_hw_compatible", "trt_timing_cache_enable", "trt_timing_cache_path", "trt_builder_optimization_level",
        "trt_sparsity_enable", "trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_profile_max_shapes",
    }  # fmt: skip
    everything = BuildOptions(
        precision="int8", workspace_mb=1, optimization_level=1, dla_core=0, is_sparse=True, compatibility="hardware",
        calibration_cache=Path("/c"), profiles={"a": ShapeProfile((1,), (1,), (1,))},
    )  # fmt: skip

    assert set(dict(with_options([TENSORRT], everything, Path("/e")))[TENSORRT]) == known


@pytest.mark.parametrize(
    ("options", "provider", "expected"),
    [
        (BuildOptions(), CPU, None),
        (BuildOptions(is_stripped=True), TENSORRT, "--stripped"),
        (BuildOptions(compatibility="version"), TENSORRT, "--compatibility version"),
        (BuildOptions(dla_core=0), TENSORRT, None),
        (BuildOptions(dla_core=0), CUDA, "--dla-core"),
        (BuildOptions(is_sparse=True), CPU, "--sparse"),
        (BuildOptions(workspace_mb=100), CUDA, None),
        (BuildOptions(workspace_mb=100), CPU, "--workspace-mb"),
    ],
)
def test_an_option_that_a_provider_would_pass_over_is_named(options, provider, expected):
    assert unsupported(options, provider) == expected
