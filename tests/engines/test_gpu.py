"""What only a machine with an NVIDIA GPU can show: `make gpu` runs these. Elsewhere each is skipped with the reason."""

from __future__ import annotations

import time

import numpy as np
import pytest
from edgewright.calibration.half import write_half
from edgewright.core.errors import Unfit
from edgewright.engines.base import BuildOptions, ShapeProfile
from edgewright.engines.cuda import cuda_status
from edgewright.engines.discovery import load_backend
from edgewright.engines.ort.library import onnxruntime_library
from edgewright.engines.ort.providers import CUDA, TENSORRT
from edgewright.pipeline.subject import open_subject

pytestmark = pytest.mark.gpu
FAMILY = ("tensorrt", "tensorrt_rtx")


@pytest.fixture
def device():
    status = cuda_status()
    if status.device is None:
        pytest.skip(status.reason)
    return status.device


@pytest.fixture(params=FAMILY)
def backend(request, device):
    found = load_backend(request.param)
    reason = found.unavailable()
    if reason is not None:
        pytest.skip(reason)
    return found


@pytest.fixture
def build(backend, tiny_classifier, tmp_path):
    def run(**options):
        folder = tmp_path / "engine"
        folder.mkdir()
        return backend.build(tiny_classifier, folder, BuildOptions(**options), lambda _share, _note: None)

    return run


@pytest.mark.parametrize("provider", [CUDA, TENSORRT])
def test_onnxruntime_runs_on_the_gpu(device, provider, models, tiny_classifier, tmp_path):
    if provider not in onnxruntime_library().get_available_providers():
        pytest.skip(f"this onnxruntime has no {provider}: pip install onnxruntime-gpu")
    backend = load_backend("onnxruntime")
    (tmp_path / "engine").mkdir()
    try:
        engine = backend.build(tiny_classifier, tmp_path / "engine", BuildOptions(provider=provider), lambda _share, _note: None)
    except Unfit as error:
        pytest.skip(error.message)

    with backend.open(engine.path, BuildOptions(provider=provider)) as runner:
        found = runner.infer({"input": models.samples(1)})["logits"]

    assert engine.provider == provider
    np.testing.assert_allclose(models.run(models.classifier(), {"input": models.samples(1)})["logits"], found, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_plan_answers_as_onnxruntime_does(backend, build, models, batch):
    profile = ShapeProfile((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8))
    samples = models.samples(batch)

    with backend.open(build(profiles={"input": profile}).path, BuildOptions()) as runner:
        for _ in range(5):  # the later ones are launches of a captured graph
            found = runner.infer({"input": samples})["logits"]

    np.testing.assert_allclose(models.run(models.classifier(), {"input": samples})["logits"], found, rtol=1e-2, atol=1e-3)


def test_an_inference_is_split_and_the_parts_are_times(backend, build, models):
    with backend.open(build().path, BuildOptions()) as runner:
        split = runner.split({"input": models.samples(1)})

    assert split.compute_ms > 0
    assert min(split.host_to_device_ms, split.device_to_host_ms, split.enqueue_ms) >= 0


def test_layers_are_timed(backend, build, models):
    layers = backend.layers(build().path, BuildOptions(), {"input": models.samples(1)}, 5)

    assert layers
    assert sum(layer.mean_ms for layer in layers) > 0


def test_a_truncated_plan_is_unusable(backend, build):
    engine = build().path
    content = engine.read_bytes()
    engine.write_bytes(content[: len(content) // 2])

    with pytest.raises(Unfit):
        backend.open(engine, BuildOptions())


def test_a_stripped_plan_gets_its_weights_when_it_is_opened(backend, build, models):
    engine = build(is_stripped=True)
    with backend.open(engine.path, BuildOptions(is_stripped=True)) as runner:
        found = runner.infer({"input": models.samples(1)})["logits"]

    np.testing.assert_allclose(models.run(models.classifier(), {"input": models.samples(1)})["logits"], found, rtol=1e-2, atol=1e-3)


def test_a_refittable_plan_gets_the_weights_of_another_training(backend, build, models, tmp_path):
    options = BuildOptions(is_refittable=True)
    model = models.save(models.classifier(seed=7), tmp_path / "new.onnx")
    backend.refit(build(is_refittable=True).path, model, tmp_path / "new.plan", options)
    with backend.open(tmp_path / "new.plan", options) as runner:
        found = runner.infer({"input": models.samples(1)})["logits"]

    np.testing.assert_allclose(models.run(models.classifier(seed=7), {"input": models.samples(1)})["logits"], found, rtol=1e-2, atol=1e-3)


def test_half_precision_from_the_models_own_types(backend, tiny_classifier, tiny_samples, models, tmp_path):
    for name in ("half", "engine"):
        (tmp_path / name).mkdir()
    half = write_half(tiny_classifier, open_subject(tiny_classifier).dataset(tiny_samples), tmp_path / "half").path
    engine = backend.build(half, tmp_path / "engine", BuildOptions(precision="fp16"), lambda *_: None)
    with backend.open(engine.path, BuildOptions(precision="fp16")) as runner:
        found = runner.infer({"input": models.samples(1)})["logits"]

    np.testing.assert_allclose(models.run(models.classifier(), {"input": models.samples(1)})["logits"], found, rtol=3e-2, atol=3e-2)


def test_many_opens_leave_no_memory_behind(backend, build, models):
    from edgewright.engines.trt.device import load_pycuda

    engine = build().path
    cuda = load_pycuda()

    def free_bytes():
        cuda.init()
        context = cuda.Device(0).retain_primary_context()
        context.push()
        try:
            return cuda.mem_get_info()[0]
        finally:
            cuda.Context.pop()
            context.detach()

    def use():
        with backend.open(engine, BuildOptions()) as runner:
            runner.infer({"input": models.samples(1)})

    use()
    before = free_bytes()
    for _ in range(10):
        use()

    assert before - free_bytes() < 64 << 20


def test_a_build_with_known_timings_is_not_slower(backend, build, tmp_path, tiny_classifier):
    """Only that the cache is written and read again: how much it saves depends on the model."""
    cache = tmp_path / "timing.cache"
    started = time.monotonic()
    build(timing_cache=cache)
    assert time.monotonic() > started

    if backend.name == "tensorrt":
        assert cache.stat().st_size > 0
    (tmp_path / "again").mkdir()
    backend.build(tiny_classifier, tmp_path / "again", BuildOptions(timing_cache=cache), lambda _share, _note: None)
