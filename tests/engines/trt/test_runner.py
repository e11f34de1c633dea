"""Running plans of each release on a fake device whose memory is real and whose copies are bounded."""

from __future__ import annotations

import ctypes
import gc

import numpy as np
import pytest
from edgewright.core.errors import Faulty, Rejected, Unfit
from edgewright.engines.base import BuildOptions, ShapeProfile
from edgewright.engines.trt import graph
from edgewright.engines.trt.build import build_plan
from edgewright.engines.trt.log import make_logger
from edgewright.engines.trt.runner import open_plan

RELEASES = ("8.6", "10.3", "10.13", "10.16", "11.0", "11.4", "rtx-1.7")
WIDE = ShapeProfile((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8))


@pytest.fixture
def build(binding_of, tiny_classifier, tmp_path):
    """``build(release)`` → the plan's path."""

    def run(release, *, model=tiny_classifier, **options):
        folder = tmp_path / f"engine-{release}"
        folder.mkdir(exist_ok=True)
        return build_plan(binding_of(release), model, folder, BuildOptions(**options), lambda _share, _note: None).path

    return run


@pytest.fixture
def opened(build, binding_of):
    def run(release, **options):
        return open_plan(binding_of(release), build(release, **options), BuildOptions())

    return run


@pytest.mark.parametrize("release", RELEASES)
def test_answers_as_onnxruntime_does(opened, release, models):
    samples = models.samples(1)

    with opened(release) as runner:
        assert [(spec.name, spec.dtype, spec.shape) for spec in runner.inputs] == [("input", "float32", (None, 3, 8, 8))]
        found = runner.infer({"input": samples})

    np.testing.assert_allclose(models.run(models.classifier(), {"input": samples})["logits"], found["logits"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("release", RELEASES)
def test_every_shape_of_the_profile_runs_in_turn(opened, release, models):
    with opened(release, profiles={"input": WIDE}) as runner:
        for batch in (1, 4, 2, 1, 4):
            samples = models.samples(batch, seed=batch)
            found = runner.infer({"input": samples})["logits"]

            np.testing.assert_allclose(models.run(models.classifier(), {"input": samples})["logits"], found, rtol=1e-5, atol=1e-6)


def test_a_shape_outside_the_profile_is_the_callers_fault(opened, models):
    with opened("10.3", profiles={"input": WIDE}) as runner, pytest.raises(Rejected) as caught:
        runner.infer({"input": models.samples(5)})

    assert caught.value.code == "feeds-mismatch"


@pytest.mark.parametrize("feeds", [{}, {"input": np.zeros((1, 3, 8, 8))}, {"input": np.zeros((1, 3, 8), np.float32)}], ids=["none", "type", "rank"])
def test_wrong_feeds_are_the_callers_fault(opened, feeds):
    with opened("10.3") as runner, pytest.raises(Rejected) as caught:
        runner.infer(feeds)

    assert caught.value.code == "feeds-mismatch"


@pytest.mark.parametrize("release", RELEASES)
def test_several_inputs_and_outputs(opened, release, models, tmp_path):
    nodes = [models.node("Add", ["a", "b"], ["sum"]), models.node("Sub", ["a", "b"], ["difference"])]
    proto = models.model(nodes, {"a": ["N", 2], "b": ["N", 2]}, {"sum": ["N", 2], "difference": ["N", 2]})

    with opened(release, model=models.save(proto, tmp_path / "two.onnx")) as runner:
        found = runner.infer({"a": np.float32([[5, 6]]), "b": np.float32([[1, 2]])})

    assert {name: value.tolist() for name, value in found.items()} == {"sum": [[6, 8]], "difference": [[4, 4]]}


@pytest.mark.parametrize("release", RELEASES)
def test_outputs_whose_shape_depends_on_the_data(opened, release, models, tmp_path):
    """What in-graph non-maximum suppression does: as many rows as there is something to say."""
    proto = models.model([models.node("NonZero", ["x"], ["found"])], {"x": [1, 4]}, {"found": [2, None]})
    proto.graph.output[0].type.tensor_type.elem_type = 7

    with opened(release, model=models.save(proto, tmp_path / "free.onnx")) as runner:
        first = runner.infer({"x": np.float32([[0, 3, 0, 4]])})["found"]
        second = runner.infer({"x": np.float32([[1, 1, 1, 1]])})["found"]
        nothing = runner.infer({"x": np.float32([[0, 0, 0, 0]])})["found"]

    assert first.tolist() == [[0, 0], [1, 3]]
    assert second.tolist() == [[0, 0, 0, 0], [0, 1, 2, 3]]
    assert nothing.shape == (2, 0)


def test_a_release_without_v3_is_run_by_its_bindings(build, binding_of, models, monkeypatch):
    binding = binding_of("8.6")
    plan = build("8.6")
    monkeypatch.delattr(binding.trt.IExecutionContext, "execute_async_v3")

    with open_plan(binding, plan, BuildOptions()) as runner:
        found = runner.infer({"input": models.samples(1)})["logits"]

    np.testing.assert_allclose(models.run(models.classifier(), {"input": models.samples(1)})["logits"], found, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("release", RELEASES)
def test_an_inference_is_split_by_events(opened, release, models):
    with opened(release) as runner:
        split = runner.split({"input": models.samples(1)})

    # The fake's clock counts recorded events: one step from each to the next.
    assert (split.host_to_device_ms, split.compute_ms, split.device_to_host_ms) == (1, 1, 1)
    assert split.enqueue_ms > 0


@pytest.mark.parametrize("release", RELEASES)
def test_layers_are_timed_by_tensorrts_profiler(opened, release, models):
    with opened(release) as runner:
        layers = runner.layers({"input": models.samples(1)}, 4)

    assert len(layers) == len(models.classifier().graph.node)
    assert {layer.mean_ms for layer in layers} == {0.5}


def test_on_a_board_with_shared_memory_nothing_is_copied(opened, models, memory, load_fake, monkeypatch):
    fake = load_fake("pycuda")
    driver = fake.make_driver(memory, is_integrated=True)
    for name in ("memcpy_htod_async", "memcpy_dtoh_async"):
        monkeypatch.delattr(driver, name)
    monkeypatch.setitem(__import__("sys").modules, "pycuda.driver", driver)
    __import__("sys").modules["pycuda"].driver = driver

    with opened("10.3") as runner:
        found = runner.infer({"input": models.samples(1)})["logits"]

    np.testing.assert_allclose(models.run(models.classifier(), {"input": models.samples(1)})["logits"], found, rtol=1e-5, atol=1e-6)
    assert driver.retained == 0


@pytest.mark.parametrize("batch", [1, 3])
def test_a_bound_run_reads_and_writes_its_own_buffers(opened, models, batch):
    with opened("10.3", profiles={"input": WIDE}) as runner:
        bound = runner.bind({"input": (batch, 3, 8, 8)})
        addresses = {name: value.ctypes.data for name, value in (*bound.inputs.items(), *bound.outputs.items())}
        for seed in (1, 2, 3):
            samples = models.samples(batch, seed=seed)
            bound.inputs["input"][...] = samples
            bound.run()

            np.testing.assert_allclose(models.run(models.classifier(), {"input": samples})["logits"], bound.outputs["logits"], rtol=1e-5, atol=1e-6)
        assert addresses == {name: value.ctypes.data for name, value in (*bound.inputs.items(), *bound.outputs.items())}


class FakeLibcuda:
    """The six calls that capture and launch a graph. `refuse` names one that fails."""

    def __init__(self, refuse=""):
        self.refuse, self.calls, self.launched = refuse, [], lambda: None

    def __getattr__(self, name):
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments):
            self.calls.append(name)
            if name == "cuStreamEndCapture":
                ctypes.cast(arguments[1], ctypes.POINTER(ctypes.c_void_p))[0] = 1
            if name == "cuGraphInstantiateWithFlags":
                ctypes.cast(arguments[0], ctypes.POINTER(ctypes.c_void_p))[0] = 2
            if name == "cuGraphLaunch":
                self.launched()
            return 900 if name == self.refuse else 0

        return call


def test_after_the_first_runs_a_graph_is_launched(opened, models, monkeypatch):
    library = FakeLibcuda()
    monkeypatch.setattr(graph.ctypes, "CDLL", lambda _name: library)

    with opened("10.3") as runner:
        bound = runner.bind({"input": (1, 3, 8, 8)})
        library.launched = bound._submit
        for seed in range(4):
            samples = models.samples(1, seed=seed)
            bound.inputs["input"][...] = samples
            bound.run()

            np.testing.assert_allclose(models.run(models.classifier(), {"input": samples})["logits"], bound.outputs["logits"], rtol=1e-5, atol=1e-6)
        bound.close()

    assert library.calls.count("cuGraphLaunch") == 2
    assert library.calls.count("cuGraphExecDestroy") == 1


@pytest.mark.parametrize("refuse", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"])
def test_a_plan_that_cannot_be_captured_runs_without(opened, models, monkeypatch, refuse):
    library = FakeLibcuda(refuse)
    monkeypatch.setattr(graph.ctypes, "CDLL", lambda _name: library)

    with opened("10.3") as runner:
        for seed in range(4):
            samples = models.samples(1, seed=seed)
            found = runner.infer({"input": samples})["logits"]

            np.testing.assert_allclose(models.run(models.classifier(), {"input": samples})["logits"], found, rtol=1e-5, atol=1e-6)

    assert "cuGraphLaunch" not in library.calls


def test_a_graph_that_does_not_launch_is_our_fault(opened, models, monkeypatch):
    library = FakeLibcuda("cuGraphLaunch")
    monkeypatch.setattr(graph.ctypes, "CDLL", lambda _name: library)

    with opened("10.3") as runner:
        for _ in range(2):
            runner.infer({"input": models.samples(1)})
        with pytest.raises(Faulty) as caught:
            runner.infer({"input": models.samples(1)})

    assert caught.value.code == "inference-failed"


def damaged(plan, how):
    content = plan.read_bytes()
    plan.write_bytes({"truncated": content[: len(content) // 2], "not a plan": b"garbage" + content, "empty": b""}[how])


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("how", ["truncated", "not a plan", "empty"])
def test_a_damaged_plan_is_unusable_and_leaves_nothing_behind(build, binding_of, memory, release, how):
    plan = build(release)
    damaged(plan, how)

    with pytest.raises(Unfit) as caught:
        open_plan(binding_of(release), plan, BuildOptions())

    assert caught.value.code == "engine-unusable"
    assert (memory.driver.depth, memory.driver.retained) == (0, 0)


def test_a_plan_of_another_release_is_foreign(build, binding_of, memory):
    with pytest.raises(Unfit) as caught:
        open_plan(binding_of("10.13"), build("10.3"), BuildOptions())

    assert caught.value.code == "engine-foreign"
    assert "another version" in caught.value.message
    assert memory.driver.retained == 0


def test_a_plan_of_another_gpu_is_foreign(build, binding_of, settings):
    plan = build("10.3")
    settings.gpu = "SM110"

    with pytest.raises(Unfit) as caught:
        open_plan(binding_of("10.3"), plan, BuildOptions())

    assert caught.value.code == "engine-foreign"
    assert "another GPU" in caught.value.message


def test_a_device_without_memory_says_so(build, binding_of, memory, models):
    plan = build("10.3")
    memory.limit_bytes = 1000  # the pinned input of 768 bytes fits, its memory on the device does not

    with open_plan(binding_of("10.3"), plan, BuildOptions()) as runner, pytest.raises(Unfit) as caught:
        runner.infer({"input": models.samples(1)})

    assert caught.value.code == "out-of-memory"


def test_without_a_device_the_backend_is_unavailable(build, binding_of, load_fake, memory, monkeypatch):
    plan = build("10.3")
    driver = load_fake("pycuda").make_driver(memory, devices=0)
    monkeypatch.setitem(__import__("sys").modules, "pycuda.driver", driver)
    __import__("sys").modules["pycuda"].driver = driver

    with pytest.raises(Unfit) as caught:
        open_plan(binding_of("10.3"), plan, BuildOptions())

    assert caught.value.code == "backend-unavailable"


def test_closing_twice_releases_once(opened, memory):
    runner = opened("10.3")
    assert memory.driver.retained == 1

    runner.close()
    runner.close()

    assert memory.driver.retained == 0


def test_a_closed_runner_stays_closed(opened, models):
    runner = opened("10.3")
    runner.close()

    with pytest.raises(Unfit) as caught:
        runner.infer({"input": models.samples(1)})

    assert caught.value.code == "model-closed"


@pytest.fixture
def heard(monkeypatch):
    """Whether the collector was on each time that TensorRT wrote a line."""
    states = []

    def make(trt, on_line=None, *, is_verbose=False):
        def line(words):
            states.append(gc.isenabled())
            if on_line is not None:
                on_line(words)

        return make_logger(trt, line, is_verbose=is_verbose)

    monkeypatch.setattr("edgewright.engines.trt.runner.make_logger", make)
    return states


def test_a_plan_that_does_not_load_is_told_with_the_collector_off(binding_of, tiny_classifier, tmp_path, memory, heard):
    binding = binding_of("10.3")
    plan = build_plan(binding, tiny_classifier, tmp_path, BuildOptions(), lambda *_: None).path
    plan.write_bytes(plan.read_bytes()[:-1])

    with pytest.raises(Exception, match=plan.name):
        open_plan(binding, plan, BuildOptions())

    assert heard
    assert not any(heard)
    assert gc.isenabled()
