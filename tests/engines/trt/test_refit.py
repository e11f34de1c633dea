"""Plans without weights, and plans that get others: by the fakes of each release. Nothing of it ran on a GPU."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.core.errors import Rejected, Unfit
from edgewright.engines.base import BuildOptions
from edgewright.engines.trt.build import build_plan
from edgewright.engines.trt.loading import refit_plan
from edgewright.engines.trt.runner import open_plan

RELEASES = ("10.3", "10.13", "10.16", "11.0", "11.4", "rtx-1.7")
STRIPPED, REFITTABLE = BuildOptions(is_stripped=True), BuildOptions(is_refittable=True)


@pytest.fixture
def build(binding_of, tiny_classifier, tmp_path):
    """``build(release, options)`` → the plan's path, in a folder of its own."""

    def run(release, options=BuildOptions(), model=tiny_classifier, folder="engine"):  # noqa: B008 - a frozen value
        (tmp_path / folder).mkdir()
        return build_plan(binding_of(release), model, tmp_path / folder, options, lambda *_: None).path

    return run


@pytest.fixture
def infer(binding_of):
    def run(release, plan, options, samples):
        with open_plan(binding_of(release), plan, options) as runner:
            return runner.infer({"input": samples})["logits"]

    return run


@pytest.fixture
def retrained(models, tmp_path):
    """The same graph with other weights."""
    return models.save(models.classifier(seed=7), tmp_path / "retrained" / "model.onnx")


@pytest.mark.parametrize("release", RELEASES)
def test_a_stripped_plan_is_small_and_answers_with_the_weights_beside_it(release, build, infer, models):
    plan, whole = build(release, STRIPPED), build(release, folder="whole")
    samples = models.samples(1)

    assert sorted(path.name for path in plan.parent.iterdir()) == ["model.plan", "weights.onnx"]
    assert plan.stat().st_size < whole.stat().st_size
    expected = models.run(models.classifier(), {"input": samples})["logits"]
    np.testing.assert_allclose(expected, infer(release, plan, STRIPPED, samples), rtol=1e-5, atol=1e-6)


def test_a_stripped_plan_is_not_run_without_its_weights(build, infer, models):
    with pytest.raises(Unfit):
        infer("10.3", build("10.3", STRIPPED), BuildOptions(), models.samples(1))


@pytest.mark.parametrize("release", RELEASES)
def test_a_refittable_plan_gets_the_weights_of_another_training(release, build, infer, binding_of, retrained, models, tmp_path):
    plan, samples = build(release, REFITTABLE), models.samples(1)
    refit_plan(binding_of(release), plan, retrained, tmp_path / "new.plan", REFITTABLE)

    expected = models.run(models.classifier(seed=7), {"input": samples})["logits"]
    np.testing.assert_allclose(expected, infer(release, tmp_path / "new.plan", REFITTABLE, samples), rtol=1e-5, atol=1e-6)
    old = models.run(models.classifier(), {"input": samples})["logits"]
    np.testing.assert_allclose(old, infer(release, plan, REFITTABLE, samples), rtol=1e-5, atol=1e-6)


def test_a_plan_without_weights_that_may_get_others_takes_them_beside_it(build, infer, binding_of, retrained, models, tmp_path):
    options = BuildOptions(is_stripped=True, is_refittable=True)
    plan, samples = build("10.3", options), models.samples(1)
    (tmp_path / "new").mkdir()
    refit_plan(binding_of("10.3"), plan, retrained, tmp_path / "new" / "model.plan", options)

    expected = models.run(models.classifier(seed=7), {"input": samples})["logits"]
    np.testing.assert_allclose(expected, infer("10.3", tmp_path / "new" / "model.plan", options, samples), rtol=1e-5, atol=1e-6)


def test_weights_of_another_graph_are_refused(build, binding_of, models, tmp_path):
    other = models.save(models.wide_classifier(), tmp_path / "other.onnx")

    with pytest.raises(Rejected) as caught:
        refit_plan(binding_of("10.3"), build("10.3", REFITTABLE), other, tmp_path / "new.plan", REFITTABLE)

    assert (caught.value.code, "differ" in caught.value.message) == ("refit-refused", True)
    assert not (tmp_path / "new.plan").exists()


def test_weights_of_another_size_are_refused_by_name(build, binding_of, models, tmp_path):
    proto = models.classifier()
    (last,) = (weights for weights in proto.graph.initializer if weights.name == "w5")
    last.CopyFrom(models.numpy_helper.from_array(np.zeros((8, 5), np.float32), "w5"))
    model = models.save(proto, tmp_path / "other.onnx")

    with pytest.raises(Rejected, match="w5"):
        refit_plan(binding_of("10.3"), build("10.3", REFITTABLE), model, tmp_path / "new.plan", REFITTABLE)


def test_a_plan_that_may_not_change_does_not(build, binding_of, retrained, tmp_path):
    with pytest.raises(Rejected) as caught:
        refit_plan(binding_of("10.3"), build("10.3"), retrained, tmp_path / "new.plan", BuildOptions())

    assert caught.value.code == "refit-refused"


def test_a_release_that_cannot_refit_from_onnx_says_so(build, binding_of, retrained, tmp_path):
    with pytest.raises(Rejected) as caught:
        refit_plan(binding_of("8.6"), build("8.6", REFITTABLE), retrained, tmp_path / "new.plan", REFITTABLE)

    assert caught.value.code == "option-unsupported"


def test_a_version_compatible_plan_is_run_by_a_later_release(build, infer, models):
    options = BuildOptions(compatibility="version")
    plan = build("10.3", options)

    assert infer("10.13", plan, options, models.samples(1)).shape == (1, 4)
    with pytest.raises(Unfit) as caught:
        infer("10.13", plan, BuildOptions(), models.samples(1))
    assert caught.value.code == "engine-foreign"


def test_a_plan_for_a_dla_is_loaded_for_its_core(build, infer, settings, models):
    settings.dla_cores = 2
    options = BuildOptions(dla_core=1, precision="fp16")
    infer("10.3", build("10.3", options), options, models.samples(1))

    assert settings.loaded_with == (1, False)
