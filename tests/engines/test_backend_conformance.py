"""What every backend promises, run over everything that is found in the folder. An unusable one is skipped with its own reason."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.core.errors import EdgewrightError, Rejected, Unfit
from edgewright.core.plugins import plugin_names
from edgewright.engines import backends
from edgewright.engines.base import BuildOptions, ShapeProfile
from edgewright.engines.discovery import load_backend


@pytest.fixture(params=plugin_names(backends))
def backend(request, monkeypatch):
    monkeypatch.setenv("EDGEWRIGHT_NULL_BACKEND", "1")
    found = load_backend(request.param)
    reason = found.unavailable()
    if reason is not None:
        pytest.skip(reason)
    return found


@pytest.fixture
def build(backend, tiny_classifier, tmp_path):
    def run(options=BuildOptions(), model=tiny_classifier, progress=lambda _share, _note: None):  # noqa: B008 - a frozen value
        folder = tmp_path / "engine"
        folder.mkdir()
        return backend.build(model, folder, options, progress)

    return run


def test_names_what_it_is(backend):
    capabilities = backend.capabilities()

    assert capabilities.version
    assert capabilities.device
    assert "fp32" in capabilities.precisions
    assert capabilities.dialect


def test_builds_one_file_inside_the_folder_it_was_given(build, tmp_path):
    engine = build()

    assert engine.path.parent == tmp_path / "engine"
    assert engine.path.stat().st_size > 0
    assert engine.size_bytes >= engine.path.stat().st_size
    assert engine.provider


def test_leaves_the_model_as_it_was(build, tiny_classifier):
    before = tiny_classifier.read_bytes()

    build()

    assert before == tiny_classifier.read_bytes()


def test_reports_progress_upwards_to_one(build):
    shares = []

    build(progress=lambda share, _note: shares.append(share))

    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_opens_what_it_built_and_says_its_tensors(backend, build):
    engine = build()

    with backend.open(engine.path, BuildOptions()) as runner:
        assert [(spec.name, spec.dtype, spec.shape[1:]) for spec in runner.inputs] == [("input", "float32", (3, 8, 8))]
        assert [(spec.name, spec.dtype, spec.shape[1:]) for spec in runner.outputs] == [("logits", "float32", (4,))]
        assert runner.provider == engine.provider


@pytest.mark.parametrize("batch", [1, 3])
def test_runs_the_batch_it_is_fed(backend, build, models, batch):
    with backend.open(build(BuildOptions(batch=batch)).path, BuildOptions(batch=batch)) as runner:
        outputs = runner.infer({"input": models.samples(batch)})

    assert set(outputs) == {"logits"}
    assert outputs["logits"].shape == (batch, 4)
    assert outputs["logits"].dtype == np.float32


def test_runs_the_same_twice(backend, build, models):
    with backend.open(build().path, BuildOptions()) as runner:
        first, second = (runner.infer({"input": models.samples(1)})["logits"] for _ in range(2))

    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    "feeds",
    [
        {},
        {"inptu": np.zeros((1, 3, 8, 8), np.float32)},
        {"input": np.zeros((1, 3, 8, 8), np.float64)},
        {"input": np.zeros((1, 3, 8), np.float32)},
        {"input": np.zeros((1, 3, 8, 9), np.float32)},
        {"input": np.zeros((1, 3, 8, 8), np.float32), "other": np.zeros(1, np.float32)},
    ],
    ids=["nothing", "wrong name", "wrong type", "wrong rank", "wrong size", "one too many"],
)
def test_refuses_feeds_that_do_not_fit(backend, build, feeds):
    with backend.open(build().path, BuildOptions()) as runner, pytest.raises(Rejected) as caught:
        runner.infer(feeds)

    assert caught.value.code == "feeds-mismatch"


@pytest.mark.parametrize("content", [b"", b"this is no model at all\n" * 20, b"\0" * 500], ids=["empty", "text", "zeros"])
def test_refuses_to_build_what_is_no_model(build, tmp_path, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)

    with pytest.raises(Rejected) as caught:
        build(model=path)

    assert caught.value.code == "model-unreadable"
    assert "broken.onnx" in caught.value.message


def test_refuses_to_build_half_a_model(build, tiny_classifier, tmp_path):
    path = tmp_path / "half.onnx"
    content = tiny_classifier.read_bytes()
    path.write_bytes(content[: len(content) // 2])

    with pytest.raises(Rejected) as caught:
        build(model=path)

    assert caught.value.code == "model-unreadable"


def test_says_that_an_engine_is_not_there(backend, tmp_path):
    with pytest.raises(Unfit) as caught:
        backend.open(tmp_path / "absent", BuildOptions())

    assert caught.value.code == "engine-unusable"


def test_refuses_half_an_engine(backend, build):
    engine = build().path
    content = engine.read_bytes()
    engine.write_bytes(content[: len(content) // 2])

    with pytest.raises(EdgewrightError):
        backend.open(engine, BuildOptions())


@pytest.mark.parametrize("batch", [1, 3])
def test_a_bound_run_answers_as_a_plain_one(backend, build, models, batch):
    with backend.open(build(BuildOptions(batch=batch)).path, BuildOptions(batch=batch)) as runner:
        bound = runner.bind({"input": (batch, 3, 8, 8)})
        for seed in (1, 2):
            samples = models.samples(batch, seed=seed)
            bound.inputs["input"][...] = samples
            bound.run()

            assert np.array_equal(runner.infer({"input": samples})["logits"], bound.outputs["logits"])


@pytest.mark.parametrize("shape", [(1, 3, 8), (1, 3, 8, 9), None], ids=["rank", "size", "not said"])
def test_refuses_to_bind_shapes_that_do_not_fit(backend, build, shape):
    with backend.open(build().path, BuildOptions()) as runner, pytest.raises(Rejected) as caught:
        runner.bind({} if shape is None else {"input": shape})

    assert caught.value.code == "feeds-mismatch"


def test_times_layers_or_has_none(backend, build, models):
    layers = backend.layers(build().path, BuildOptions(), {"input": models.samples(1)}, 3)

    assert all(layer.name and layer.mean_ms >= 0 for layer in layers)


def test_computes_what_the_model_says(backend, build, models):
    """The reference is onnxruntime in FP32 without any optimisation."""
    if backend.capabilities().device == "null":
        pytest.skip("it computes nothing")
    samples = models.samples(1)
    with backend.open(build().path, BuildOptions()) as runner:
        found = runner.infer({"input": samples})["logits"]

    np.testing.assert_allclose(models.run(models.classifier(), {"input": samples})["logits"], found, rtol=1e-4, atol=1e-5)


@pytest.fixture
def computing(backend):
    if backend.capabilities().device == "null":
        pytest.skip("it computes nothing")
    return backend


def test_a_detector_with_suppression_in_its_graph_computes_what_it_says(computing, build, models, tmp_path):
    """Two inputs, three outputs, one of them as long as the data say."""
    model = models.save(models.detector(), tmp_path / "detector.onnx")
    try:
        engine = build(model=model).path
    except Rejected as error:
        if error.code != "build-refused":
            raise
        pytest.skip(error.message)
    random = np.random.default_rng(9)
    lengths = set()
    with computing.open(engine, BuildOptions()) as runner:
        for gain in (0.1, 1, 4):
            feeds = {"features": random.normal(0, 1, (1, 16)).astype(np.float32), "gain": np.float32([[gain]])}
            found = runner.infer(feeds)
            expected = models.run(models.detector(), feeds)
            lengths.add(len(found["kept"]))
            for name, value in expected.items():
                np.testing.assert_allclose(value, found[name], rtol=1e-4, atol=1e-5)

    assert len(lengths) > 1


def test_free_axes_run_in_every_size_of_their_profile(computing, build, models, tmp_path):
    nodes = [models.node("Relu", ["x"], ["r"]), models.node("ReduceMean", ["r"], ["y"], axes=[2], keepdims=0)]
    proto = models.model(nodes, {"x": ["N", 3, "length"]}, {"y": ["N", 3]})
    options = BuildOptions(profiles={"x": ShapeProfile((1, 3, 4), (1, 3, 16), (2, 3, 64))})
    with computing.open(build(options, models.save(proto, tmp_path / "free.onnx")).path, options) as runner:
        for batch, length in ((1, 4), (2, 64), (1, 16), (2, 5)):
            x = np.random.default_rng(length).normal(0, 1, (batch, 3, length)).astype(np.float32)

            np.testing.assert_allclose(models.run(proto, {"x": x})["y"], runner.infer({"x": x})["y"], rtol=1e-4, atol=1e-5)


def test_closes_more_than_once(backend, build):
    runner = backend.open(build().path, BuildOptions())

    runner.close()
    runner.close()
