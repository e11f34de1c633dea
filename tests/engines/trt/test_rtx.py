"""The real TensorRT-RTX: its parser and builder run without a GPU, for hardware that is named."""

from __future__ import annotations

import gc
import time

import numpy as np
import onnx
import pytest
from edgewright.calibration.calibrate import CalibrationOptions, calibrate
from edgewright.calibration.half import write_half
from edgewright.core.errors import Rejected, Unfit
from edgewright.engines.base import BuildOptions, ShapeProfile
from edgewright.engines.trt.build import build_plan
from edgewright.engines.trt.family import TensorRtFamily
from edgewright.engines.trt.log import make_logger
from edgewright.engines.trt.network import parse_model
from edgewright.pipeline.subject import open_subject

ADA = "8.9"
SHARED = ("mobilenet_v2", "squeezenet1.1", "cifar10_resnet20", "kws_dscnn", "mnist_opset8", "ultraface_rfb320_opset9", "squeezenet1.1_fp16_opset7")


@pytest.fixture
def build(rtx, tmp_path):
    def run(model, *, progress=lambda _share, _note: None, **options):
        folder = tmp_path / "engine"
        folder.mkdir(exist_ok=True)
        return build_plan(rtx, model, folder, BuildOptions(**{"compute_capability": ADA, **options}), progress)

    return run


def test_builds_a_real_plan(build, tiny_classifier):
    engine = build(tiny_classifier)

    assert engine.path.read_bytes()[:4] == b"vtrt"
    assert engine.size_bytes == engine.path.stat().st_size
    assert (engine.backend, engine.provider) == ("tensorrt_rtx", "tensorrt_rtx")


@pytest.mark.parametrize("name", SHARED)
def test_builds_every_shared_model(build, shared_data, name):
    assert build(shared_data / "models" / f"{name}.onnx").size_bytes > 100_000


def test_the_same_model_gives_the_same_plan(build, tiny_classifier):
    first = build(tiny_classifier).path.read_bytes()

    assert first == build(tiny_classifier).path.read_bytes()


def test_a_quantised_model_is_built_from_its_q_dq_nodes(build, models, tmp_path):
    weight = np.random.default_rng(1).integers(-127, 127, (8, 3, 3, 3)).astype(np.int8)
    nodes = [
        models.node("QuantizeLinear", ["x", "sx", "zero"], ["xq"]),
        models.node("DequantizeLinear", ["xq", "sx", "zero"], ["xd"]),
        models.node("DequantizeLinear", ["w", "sw", "zeros"], ["wd"], axis=0),
        models.node("Conv", ["xd", "wd"], ["y"]),
    ]
    weights = {"w": weight, "sx": np.float32(0.02), "zero": np.int8(0), "sw": np.full(8, 0.01, np.float32), "zeros": np.zeros(8, np.int8)}
    proto = models.model(nodes, {"x": [1, 3, 16, 16]}, {"y": [1, 8, 14, 14]}, weights)

    assert build(models.save(proto, tmp_path / "qdq.onnx"), precision="int8").size_bytes > 0


def test_half_precision_and_what_int8_leaves_of_it_are_built_from_their_files(build, models, tiny_classifier, tiny_samples, tmp_path):
    """What the ladder of a strongly typed device builds; each is another file, and each parses as strongly typed."""
    subject = open_subject(tiny_classifier)
    data = subject.dataset(tiny_samples)
    for name in ("int8", "fp16", "mixed"):
        (tmp_path / name).mkdir()
    quantised = calibrate(tiny_classifier, data, tmp_path / "int8", CalibrationOptions(), progress=lambda *_: None, cancel=lambda: False).tensorrt
    files = {"fp16": write_half(tiny_classifier, data, tmp_path / "fp16").path, "mixed": write_half(quantised, data, tmp_path / "mixed").path}

    plans = {precision: build(file, precision=precision).path.read_bytes() for precision, file in files.items()}

    assert all(plan.startswith(b"vtrt") for plan in plans.values())
    assert plans["fp16"] != plans["mixed"]


def test_int8_without_q_dq_is_refused(build, tiny_classifier):
    with pytest.raises(Rejected) as caught:
        build(tiny_classifier, precision="int8")

    assert caught.value.code == "calibration-missing"


def test_progress_goes_up_and_ends_at_one(build, tiny_classifier):
    shares = []

    build(tiny_classifier, progress=lambda share, _note: shares.append(share))

    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert any(0.1 < share < 0.9 for share in shares)


def test_a_build_is_cancelled_from_its_progress(build, tiny_classifier, tmp_path):
    class EnoughError(Exception):
        pass

    raised = []

    def progress(share, _note):
        if share > 0.1:
            raised.append(time.monotonic())
            raise EnoughError

    with pytest.raises(EnoughError):
        build(tiny_classifier, progress=progress)

    assert len(raised) == 1
    assert list((tmp_path / "engine").iterdir()) == []


def test_an_unknown_operator_is_named(build, models, tmp_path):
    nodes = [models.node("Relu", ["x"], ["r"]), models.node("Frobnicate", ["r"], ["y"], name="the odd one", domain="com.acme")]
    proto = models.model(nodes, {"x": [1, 3]}, {"y": [1, 3]}, domains={"com.acme": 1})

    with pytest.raises(Rejected) as caught:
        build(models.save(proto, tmp_path / "odd.onnx"))

    assert caught.value.code == "operator-unsupported"
    assert "'the odd one' (Frobnicate)" in caught.value.message
    assert "Plugin not found" in caught.value.message


def test_the_parser_itself_refuses_half_a_file(rtx, tiny_classifier, tmp_path):
    """Our own reading refuses it before; what the parser says must be understood all the same."""
    content = tiny_classifier.read_bytes()
    (tmp_path / "half.onnx").write_bytes(content[: len(content) // 2])

    with pytest.raises(Rejected) as caught:
        parse_model(rtx, tmp_path / "half.onnx", make_logger(rtx.trt), is_typed=True)

    assert caught.value.code == "model-unreadable"


def test_free_axes_without_a_profile_print_one(build, models, tmp_path):
    proto = models.model([models.node("Relu", ["x"], ["y"])], {"x": ["N", 3, "H", "W"]}, {"y": ["N", 3, "H", "W"]})

    with pytest.raises(Rejected) as caught:
        build(models.save(proto, tmp_path / "free.onnx"))

    assert caught.value.code == "profile-missing"
    assert "shape_opt = [1, 3, 256, 256]" in caught.value.next_step


def test_the_builder_itself_says_that_a_profile_is_missing(rtx, build, models, tmp_path, monkeypatch):
    proto = models.model([models.node("Relu", ["x"], ["y"])], {"x": ["N", 3]}, {"y": ["N", 3]})
    monkeypatch.setattr("edgewright.engines.trt.config.profiles_for", lambda *_: {})

    with pytest.raises(Rejected) as caught:
        build(models.save(proto, tmp_path / "free.onnx"))

    assert caught.value.code == "profile-missing"
    assert "no optimization profile" in caught.value.message


def test_a_profile_makes_them_fixed(build, models, tmp_path):
    proto = models.model([models.node("Relu", ["x"], ["y"])], {"x": ["N", 3, "H", "W"]}, {"y": ["N", 3, "H", "W"]})
    profile = ShapeProfile((1, 3, 8, 8), (1, 3, 16, 16), (4, 3, 32, 32))

    assert build(models.save(proto, tmp_path / "free.onnx"), profiles={"x": profile}).size_bytes > 0


def test_non_maximum_suppression_in_the_graph_is_parsed_and_its_builders_refusal_told(build, models, tmp_path):
    """TensorRT-RTX 1.7 parses it and has no kernel for it: such detectors fall back to ONNX Runtime there."""
    weights = {"most": np.array([10], np.int64), "iou": np.float32([0.5]), "score": np.float32([0.3])}
    nodes = [models.node("NonMaxSuppression", ["boxes", "scores", "most", "iou", "score"], ["kept"])]
    proto = models.model(nodes, {"boxes": [1, 100, 4], "scores": [1, 2, 100]}, {"kept": [None, 3]}, weights)
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64

    with pytest.raises(Rejected) as caught:
        build(models.save(proto, tmp_path / "nms.onnx"))

    assert caught.value.code == "build-refused"
    assert "no runners that implement it" in caught.value.message


@pytest.mark.parametrize("capability", ["8.7", "9.0", "1.0"])
def test_hardware_that_it_does_not_know_is_refused(build, tiny_classifier, capability):
    with pytest.raises(Rejected) as caught:
        build(tiny_classifier, compute_capability=capability)

    assert caught.value.code == "option-unsupported"
    assert "SM89" in caught.value.message


def test_what_needs_a_device_to_build_says_so_without_one(build, tiny_classifier):
    """A stripped plan is compiled with CUDA even when it is for other hardware."""
    from edgewright.engines.cuda import cuda_status

    if cuda_status().device is not None:
        pytest.skip("this machine has a CUDA device")
    with pytest.raises((Rejected, Unfit)):
        build(tiny_classifier, is_stripped=True)


def test_without_a_device_the_backend_is_not_usable_and_says_why(rtx):
    from edgewright.engines.cuda import cuda_status

    if cuda_status().device is not None:
        pytest.skip("this machine has a CUDA device")

    reason = TensorRtFamily("tensorrt_rtx").unavailable()

    assert reason is not None
    assert rtx.version in reason
    assert "NVIDIA driver" in reason


def test_garbage_with_an_old_builder_does_not_lock_the_real_one(rtx, tiny_classifier):
    """It did: the collection ran in the logger's callback, and the old builder's destructor waited for the lock that its maker held."""
    threshold = gc.get_threshold()
    lines = []

    def collect_where_allowed(line):
        gc.set_threshold(1)
        lines.append([[] for _ in line])

    try:
        gc.set_threshold(1_000_000)
        cycle = {"network": parse_model(rtx, tiny_classifier, make_logger(rtx.trt), is_typed=True)}
        cycle["self"] = cycle
        del cycle
        parse_model(rtx, tiny_classifier, make_logger(rtx.trt, collect_where_allowed), is_typed=True)
    finally:
        gc.set_threshold(*threshold)

    assert lines
