"""Conformance of every loss: gradients against finite differences, zero for an identical student, and each published formula in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from edgewright.core.plugins import load_plugin, plugin_names
from edgewright.distillation.training import losses

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make torch")

from edgewright.distillation.training.network import Seen  # noqa: E402

NAMES = plugin_names(losses)
FROM_TEACHER = [name for name in NAMES if name != "labels"]


def loss_of(name):
    return load_plugin(losses, name).LOSS


def seen(seed, channels=(3, 5), count=6, outputs=4):
    """Random outputs and activations in double precision, those of two depths at 4×4 and 2×2."""
    random = torch.Generator().manual_seed(seed)
    taps = [torch.randn(count, width, side, side, generator=random, dtype=torch.float64) for width, side in zip(channels, (4, 2), strict=True)]
    return Seen(torch.randn(count, outputs, generator=random, dtype=torch.float64), tuple(taps))


def plain(value):
    return float(value.detach())


def doubles(regressors):
    return {name: value.detach().double().requires_grad_(True) for name, value in regressors.items()}


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_that_of_finite_differences(name):
    loss, student, teacher = loss_of(name), seen(0), seen(1, channels=(4, 7))
    labels = torch.arange(6) % 4
    regressors = doubles(loss.regressors((3, 5), (4, 7), 0))
    free = [student.output, *student.taps, *regressors.values()]
    for value in free:
        value.requires_grad_(True)

    def value_at(*_free):
        return loss(student, teacher, labels, regressors)

    used = torch.autograd.grad(value_at(), free, allow_unused=True)
    assert any(gradient is not None and float(gradient.abs().sum()) > 0 for gradient in used)
    step = 1e-6
    random = np.random.default_rng(3)
    for value, gradient in zip(free, used, strict=True):
        known = torch.zeros_like(value) if gradient is None else gradient
        for index in random.integers(0, value.numel(), 5):
            with torch.no_grad():
                flat = value.view(-1)
                flat[index] += step
                above = plain(value_at())
                flat[index] -= 2 * step
                below = plain(value_at())
                flat[index] += step
            assert float(known.reshape(-1)[index]) == pytest.approx((above - below) / (2 * step), rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("name", FROM_TEACHER)
def test_an_identical_student_has_no_loss(name):
    loss, teacher = loss_of(name), seen(0)

    same = loss(Seen(teacher.output, teacher.taps), teacher, None, doubles(loss.regressors((3, 5), (3, 5), 0)))

    assert plain(same) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", FROM_TEACHER)
def test_another_student_has_a_loss(name):
    loss = loss_of(name)

    assert plain(loss(seen(0), seen(1), None, doubles(loss.regressors((3, 5), (3, 5), 0)))) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_says_its_formula(name):
    assert len(loss_of(name).formula) > 10


def softmax(scores):
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def test_labels_are_cross_entropy():
    student, labels = seen(0), np.arange(6) % 4
    expected = -np.log(softmax(student.output.numpy())[np.arange(6), labels]).mean()

    assert plain(loss_of("labels")(student, seen(1), torch.from_numpy(labels), {})) == pytest.approx(expected)


def test_softened_targets_are_hinton_s():
    student, teacher = seen(0), seen(1)
    own, aim = softmax(student.output.numpy() / 4), softmax(teacher.output.numpy() / 4)
    expected = 16 * (aim * np.log(aim / own)).sum(1).mean()

    assert plain(loss_of("hinton")(student, teacher, None, {})) == pytest.approx(expected)


def test_outputs_are_the_squared_distance_in_units_of_the_teacher():
    student, teacher = seen(0), seen(1)
    z, aim = student.output.numpy(), teacher.output.numpy()

    assert plain(loss_of("outputs")(student, teacher, None, {})) == pytest.approx(0.5 * ((z - aim) ** 2).mean() / (aim**2).mean())


def translated(v, u, regressor):
    mapped = np.einsum("oc,nchw->nohw", regressor[:, :, 0, 0], v)
    return 0.5 * ((u - mapped) ** 2).mean() / (u**2).mean()


def test_hints_and_feature_distance_are_distances_behind_a_regressor():
    student, teacher = seen(0), seen(1, channels=(4, 7))
    hints, distance = loss_of("hints"), loss_of("feature_distance")
    by_depth = doubles(hints.regressors((3, 5), (4, 7), 0))
    last = doubles(distance.regressors((3, 5), (4, 7), 0))
    each = [translated(v.numpy(), u.numpy(), r.detach().numpy()) for v, u, r in zip(student.taps, teacher.taps, by_depth.values(), strict=True)]

    assert plain(hints(student, teacher, None, by_depth)) == pytest.approx(np.mean(each))
    expected = translated(student.taps[-1].numpy(), teacher.taps[-1].numpy(), next(iter(last.values())).detach().numpy())
    assert plain(distance(student, teacher, None, last)) == pytest.approx(expected)


def test_correlation_congruence_is_the_expansion_of_the_gaussian_kernel():
    student, teacher = seen(0), seen(1, channels=(4, 7))

    def kernel(tap):
        f = tap.numpy().mean((2, 3))
        f /= np.linalg.norm(f, axis=1, keepdims=True)
        dot = f @ f.T
        return sum(math.exp(-0.8) * 0.8**p / math.factorial(p) * dot**p for p in range(3))

    expected = ((kernel(student.taps[-1]) - kernel(teacher.taps[-1])) ** 2).mean()

    assert plain(loss_of("correlation")(student, teacher, None, {})) == pytest.approx(expected)


def test_the_expansion_comes_near_the_gaussian_kernel_itself():
    from edgewright.distillation.training.losses.correlation import congruence

    features = seen(0).taps[1]
    unit = features.mean((2, 3))
    unit = unit / unit.norm(dim=1, keepdim=True)
    exact = torch.exp(-0.4 * torch.cdist(unit, unit) ** 2)

    assert float((congruence(features) - exact).abs().max()) < 0.05


def test_the_activation_sequence_compares_patterns_and_their_order():
    student, teacher = seen(0), seen(1, channels=(4, 7))

    def patterns(found):
        depths = [*(tap.numpy().mean((2, 3)) for tap in found.taps), found.output.numpy()]
        centred = [depth - depth.mean(0) for depth in depths]
        return np.asarray([(row := d / np.linalg.norm(d, axis=1, keepdims=True)) @ row.T for d in centred])

    own, aim = patterns(student), patterns(teacher)
    expected = ((own - aim) ** 2).mean() + ((np.diff(own, axis=0) - np.diff(aim, axis=0)) ** 2).mean()

    assert plain(loss_of("activation_sequence")(student, teacher, None, {})) == pytest.approx(expected)


def test_the_activation_sequence_does_not_see_which_neuron_is_which_nor_how_loud_they_are():
    teacher = seen(1)
    turned = Seen(
        teacher.output @ torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0], (teacher.taps[0][:, [2, 0, 1]] * 3, teacher.taps[1] + 5)
    )

    assert plain(loss_of("activation_sequence")(turned, teacher, None, {})) == pytest.approx(0, abs=1e-12)


def test_taps_of_different_picture_sizes_are_compared_at_the_smaller():
    student = seen(0)
    larger = Seen(student.output, tuple(tap.repeat_interleave(2, 2).repeat_interleave(2, 3) for tap in student.taps))

    for name in ("hints", "feature_distance"):
        regressors = doubles(loss_of(name).regressors((3, 5), (3, 5), 0))
        assert plain(loss_of(name)(larger, student, None, regressors)) == pytest.approx(0, abs=1e-12)
