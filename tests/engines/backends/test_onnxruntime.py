from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgewright.core.errors import Faulty, Rejected, Unfit
from edgewright.engines.backends.onnxruntime import BACKEND
from edgewright.engines.base import BuildOptions
from edgewright.engines.ort.session import load_error

CPU = "CPUExecutionProvider"


@pytest.fixture
def build(tmp_path):
    def run(model):
        folder = tmp_path / "engine"
        folder.mkdir()
        return BACKEND.build(model, folder, BuildOptions(provider=CPU), lambda _share, _note: None)

    return run


def test_computes_what_the_weights_say(models, build, tmp_path):
    weight, bias = np.arange(12, dtype=np.float32).reshape(3, 4), np.array([1, -1, 2, -2], np.float32)
    gemm = models.model([models.node("Gemm", ["x", "w", "b"], ["y"])], {"x": ["N", 3]}, {"y": ["N", 4]}, {"w": weight, "b": bias})
    engine = build(models.save(gemm, tmp_path / "gemm.onnx"))
    x = np.array([[1, 2, 3], [-1, 0, 1]], np.float32)

    with BACKEND.open(engine.path, BuildOptions()) as runner:
        y = runner.infer({"x": x})["y"]

    assert y.tolist() == [[1 + 32, -1 + 38, 2 + 44, -2 + 50], [1 + 8, -1 + 8, 2 + 8, -2 + 8]]


def test_refuses_a_provider_that_is_not_there(models, tmp_path):
    path = models.save(models.classifier(), tmp_path / "tiny.onnx")

    with pytest.raises(Unfit) as caught:
        BACKEND.open(path, BuildOptions(provider="NoSuchExecutionProvider"))

    assert caught.value.code == "provider-unusable"
    assert CPU in caught.value.next_step


def test_names_the_provider_that_runs(models, tmp_path):
    path = models.save(models.classifier(), tmp_path / "tiny.onnx")

    with BACKEND.open(path, BuildOptions(provider=CPU)) as runner:
        assert runner.provider == CPU


@pytest.mark.parametrize(("domain", "domains"), [("com.acme", {"com.acme": 1}), ("", {})], ids=["another domain", "no such ONNX operator"])
def test_names_the_operator_that_the_runtime_lacks(models, build, tmp_path, domain, domains):
    nodes = [models.node("Frobnicate", ["x"], ["y"], domain=domain)]
    path = models.save(models.model(nodes, {"x": ["N", 3]}, {"y": ["N", 3]}, domains=domains), tmp_path / "odd.onnx")

    with pytest.raises(Rejected) as caught:
        build(path)

    assert caught.value.code == "operator-unsupported"
    assert "Frobnicate" in caught.value.message
    assert str(tmp_path) not in caught.value.message


def test_refuses_a_graph_that_does_not_hang_together(models, build, tmp_path):
    path = models.save(models.model([models.node("Relu", ["nowhere"], ["y"])], {"x": ["N", 3]}, {"y": ["N", 3]}), tmp_path / "odd.onnx")

    with pytest.raises(Rejected) as caught:
        build(path)

    assert caught.value.code == "model-unreadable"
    assert "nowhere" in caught.value.message


def test_an_engine_carries_its_external_data(models, build, tmp_path):
    path = tmp_path / "large.onnx"
    onnx.save_model(models.classifier(), str(path), save_as_external_data=True, location="large.bin", size_threshold=0)

    engine = build(path)

    assert (engine.path.parent / "large.bin").stat().st_size > 0
    assert engine.size_bytes == sum(file.stat().st_size for file in engine.path.parent.iterdir())
    with BACKEND.open(engine.path, BuildOptions()) as runner:
        assert runner.infer({"input": models.samples(1)})["logits"].shape == (1, 4)


def test_misses_external_data_that_is_not_beside_the_model(models, build, tmp_path):
    path = tmp_path / "large.onnx"
    onnx.save_model(models.classifier(), str(path), save_as_external_data=True, location="large.bin", size_threshold=0)
    (tmp_path / "large.bin").unlink()

    with pytest.raises(Rejected) as caught:
        build(path)

    assert caught.value.code == "model-unreadable"
    assert "large.bin" in caught.value.message


def test_external_data_may_not_lie_elsewhere(models, build, tmp_path):
    proto = models.classifier()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    (tmp_path / "evil.onnx").write_bytes(proto.SerializeToString())

    with pytest.raises(Rejected) as caught:
        build(tmp_path / "evil.onnx")

    assert caught.value.code == "model-unreadable"


def test_a_run_that_fails_with_right_feeds_is_our_fault(models, build, tmp_path):
    nodes = [models.node("Reshape", ["x", "shape"], ["y"])]
    proto = models.model(nodes, {"x": ["N", 3]}, {"y": None}, {"shape": np.array([5, 5], np.int64)})
    engine = build(models.save(proto, tmp_path / "odd.onnx"))

    with BACKEND.open(engine.path, BuildOptions()) as runner, pytest.raises(Faulty) as caught:
        runner.infer({"x": np.zeros((1, 3), np.float32)})

    assert caught.value.code == "inference-failed"


def test_a_load_without_memory_is_this_devices_fault():
    error = load_error("model.onnx", RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc"))

    assert isinstance(error, Unfit)
    assert error.code == "out-of-memory"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (BuildOptions(provider=CPU, is_refittable=True), "option-unsupported"),
        (BuildOptions(provider=CPU, optimization_level=3), "option-unsupported"),
        (BuildOptions(provider=CPU, precision="fp16"), "precision-missing"),
        (BuildOptions(provider=CPU, precision="int8"), "precision-missing"),
        (BuildOptions(provider=CPU, precision="mixed"), "precision-missing"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.precision,
)
def test_an_engine_is_not_called_what_the_runtime_would_not_make_of_it(models, tmp_path, options, code):
    (tmp_path / "engine").mkdir()

    with pytest.raises(Rejected) as caught:
        BACKEND.build(models.save(models.classifier(), tmp_path / "tiny.onnx"), tmp_path / "engine", options, lambda *_: None)

    assert caught.value.code == code
    assert list((tmp_path / "engine").iterdir()) == []


def test_a_model_in_half_precision_is_one(models, tmp_path):
    half = models.model([models.node("Relu", ["x"], ["y"])], {"x": ["N", 3]}, {"y": ["N", 3]}, dtype=onnx.TensorProto.FLOAT16)
    (tmp_path / "engine").mkdir()

    engine = BACKEND.build(
        models.save(half, tmp_path / "half.onnx"), tmp_path / "engine", BuildOptions(provider=CPU, precision="fp16"), lambda *_: None
    )

    with BACKEND.open(engine.path, BuildOptions(provider=CPU)) as runner:
        assert runner.infer({"x": np.float16([[-1, 0, 2]])})["y"].tolist() == [[0, 0, 2]]
