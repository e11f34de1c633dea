from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make torch")

from edgewright.calibration.dialects import ONNXRUNTIME_X86, TENSORRT  # noqa: E402
from edgewright.core.plugins import plugin_names  # noqa: E402
from edgewright.distillation import blocks  # noqa: E402
from edgewright.distillation.filters import first_filters  # noqa: E402
from edgewright.distillation.onnx_form import onnx_of  # noqa: E402
from edgewright.distillation.spec import spec_from_text  # noqa: E402
from edgewright.distillation.student import student_wiring  # noqa: E402
from edgewright.distillation.training.fake_quant import FakeQuant, fake_quantized  # noqa: E402
from edgewright.distillation.training.network import Learner  # noqa: E402


@pytest.fixture
def batch():
    return np.random.default_rng(0).standard_normal((5, 3, 8, 8)).astype(np.float32)


def learner_of(text, interface, batch, steps=3):
    """A student whose running statistics have seen something."""
    wiring = student_wiring(spec_from_text(text), interface)
    learner = Learner(wiring, first_filters(wiring, 0))
    with torch.no_grad():
        for name, value in learner.params.items():
            if name.endswith(("/gain", "/shift")):
                value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(len(name))) * 0.3)
        for _ in range(steps):
            learner.run(torch.from_numpy(batch), is_learning=True)
    return learner


@pytest.mark.parametrize("name", plugin_names(blocks))
def test_every_block_leaves_as_onnx_with_its_batch_norms_folded(name, interface, batch):
    learner = learner_of(f"shrink:2,plain:8,{name}:16x2/2", interface, batch)
    model = onnx_of(learner.wiring, learner.filters(), interface)

    with torch.no_grad():
        judged = learner.run(torch.from_numpy(batch), is_learning=False)

    made = onnx.reference.ReferenceEvaluator(model).run(None, {"input": batch})[0]
    np.testing.assert_allclose(judged.output.numpy(), made, rtol=1e-3, atol=1e-4)
    assert [tuple(tap.shape[1:]) for tap in judged.taps] == [learner.wiring.shapes[tap] for tap in learner.wiring.taps]


def test_running_statistics_follow_only_while_it_learns(interface, batch):
    learner = learner_of("plain:8", interface, batch)
    before = {name: value.clone() for name, value in learner.stats.items()}

    learner.run(torch.from_numpy(batch), is_learning=False)
    assert all(torch.equal(value, learner.stats[name]) for name, value in before.items())
    learner.run(torch.from_numpy(batch + 1), is_learning=True)
    assert not all(torch.equal(value, learner.stats[name]) for name, value in before.items())


def test_weights_are_rounded_per_channel_as_the_dialect_writes_them():
    weight = torch.tensor([[[[0.5]], [[-1.27]]], [[[100.0]], [[12.7]]]])

    made = FakeQuant(TENSORRT).weight(weight)

    np.testing.assert_allclose([[0.5, -1.27], [100.0, 16 * 100 / 127]], made[:, :, 0, 0], rtol=1e-5)
    narrow = FakeQuant(replace(ONNXRUNTIME_X86, weight_max=63)).weight(weight)
    np.testing.assert_allclose([[25 * 1.27 / 63, -1.27], [100.0, 8 * 100 / 63]], narrow[:, :, 0, 0], rtol=1e-5)


@pytest.mark.parametrize(("dialect", "step"), [(ONNXRUNTIME_X86, 4 / 255), (TENSORRT, 3 / 127)])
def test_activations_are_rounded_in_the_range_that_was_seen(dialect, step):
    value = torch.linspace(-1, 3, 1001)
    stats = {}

    made = FakeQuant(dialect).activation("x", value, stats, is_learning=True)

    codes = made.numpy() / step
    np.testing.assert_allclose(np.round(codes), codes, atol=1e-3)
    assert float((made - value).abs().max()) <= 0.5 * step * 1.001 + 0.5 * step
    assert stats["x/range"].tolist() == [-1.0, 3.0]
    FakeQuant(dialect).activation("x", value * 2, stats, is_learning=True)
    np.testing.assert_allclose([-1.1, 3.3], stats["x/range"], rtol=1e-5)
    FakeQuant(dialect).activation("x", value * 9, stats, is_learning=False)
    np.testing.assert_allclose([-1.1, 3.3], stats["x/range"], rtol=1e-5)


def test_gradients_pass_inside_the_range_and_stop_outside():
    value = torch.tensor([-2.0, -0.5, 0.3, 5.0], requires_grad=True)

    fake_quantized(value, torch.tensor(0.01), torch.tensor(0.0), -100, 100).sum().backward()

    assert value.grad.tolist() == [0.0, 1.0, 1.0, 0.0]


def test_a_quantised_student_runs_with_its_batch_norms_inside_the_weights(interface, batch):
    learner = learner_of("plain:8,separable:16/2", interface, batch, steps=40)
    with torch.no_grad():
        exact = learner.run(torch.from_numpy(batch), is_learning=False).output
        rounded = learner.run(torch.from_numpy(batch), is_learning=False, quantizer=FakeQuant(TENSORRT)).output

    error = float((exact - rounded).square().sum() / exact.square().sum())
    assert 0 < error < 0.01
