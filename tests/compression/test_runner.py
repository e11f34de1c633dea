"""The runner: what passes require, ensure and gain is checked; what gains nothing is undone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgewright.compression.base import PassOptions, PassResult, unchanged
from edgewright.compression.recipe import Recipe, Step, make_step
from edgewright.compression.runner import Settings, compress
from edgewright.core.card import ModelCard
from edgewright.core.dataset import open_dataset
from edgewright.core.errors import Faulty, Rejected, Unfit
from edgewright.core.measurement import Latency
from edgewright.engines.model import input_specs
from onnx import numpy_helper


class FakePass:
    """Implements the seam: applies `change` to a copy of the model."""

    options = PassOptions
    requires: frozenset[str] = frozenset()
    forbids: frozenset[str] = frozenset()
    needs_data = False

    def __init__(self, change, gain="none", ensures=frozenset(), reason=None):
        self.change, self.gain, self.ensures, self.reason = change, gain, frozenset(ensures), reason

    def unavailable(self):
        return self.reason

    def call(self, network, options, context):
        if self.change is None:
            return unchanged(network, "there was nothing to do")
        model = onnx.ModelProto()
        model.CopyFrom(network.model)
        self.change(model)
        return PassResult(model, modified=True)


def recipe(*works):
    return Recipe("test", tuple(Step(f"fake{number}", work, PassOptions()) for number, work in enumerate(works)), quantizes=False)


def race(before_ms, after_ms):
    latencies = (Latency(mean=ms, p50=ms, p90=ms, p99=ms, samples=100) for ms in (before_ms, after_ms))
    both = tuple(latencies)
    return lambda _before, _after: both


@pytest.fixture
def file_and_data(residual_model, samples, tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(residual_model, path)
    np.savez(tmp_path / "x.npz", x=np.concatenate([batch.feeds["x"] for batch in samples(residual_model, 40).batches]))
    return path, open_dataset(tmp_path / "x.npz", ModelCard(), input_specs(residual_model))


def run(path, steps, data=None, **settings):
    return compress(path, steps, data, Settings(**settings), is_classifier=True, progress=lambda *_: None, cancel=lambda: False)


def scale_head(model, factor=1.0 + 1e-3):
    tensor = next(t for t in model.graph.initializer if t.name == "head/w")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), tensor.name))


def test_a_pass_that_is_slower_here_is_undone_and_says_so(file_and_data):
    path, data = file_and_data

    result = run(path, recipe(FakePass(scale_head, "time")), data, race=race(1.0, 1.2))

    assert [(report.outcome, report.reason) for report in result.passes] == [("undone", "1.00 of the MACs run in 1.20 of the time here")]
    assert not result.changed
    assert result.model.SerializeToString() == result.original.model.SerializeToString()


def test_a_pass_whose_time_is_what_its_macs_promise_is_kept(file_and_data):
    path, data = file_and_data
    pruning = make_step("prune_channels", {"macs_ratio": 0.6, "step": 2})
    steps = Recipe("test", (make_step("fold", {}), pruning), quantizes=False)

    kept = run(path, steps, data, race=race(1.0, 0.70))
    undone = run(path, steps, data, race=race(1.0, 0.80))

    assert [report.outcome for report in kept.passes] == ["kept", "kept"]
    assert [report.outcome for report in undone.passes] == ["kept", "undone"]
    assert kept.passes[1].after.macs <= 0.6 * kept.passes[1].before.macs
    assert kept.passes[1].damage < kept.passes[1].damage_unrepaired


@pytest.fixture
def sparse_steps(load_fake, monkeypatch):
    """A recipe with 2:4 on a device whose TensorRT, a fake, is usable."""
    fake = load_fake("sparse_backend")
    fake.install(monkeypatch, fake.SparseBackend())
    return Recipe("test", (make_step("fold", {}), make_step("sparsify_2_4", {})), quantizes=False)


@pytest.mark.parametrize(
    ("sparse_ms", "outcome", "reason"), [(0.8, "kept", ""), (0.99, "undone", "with sparse kernels it runs in 0.99 of the time here")]
)
def test_zeros_are_kept_only_where_sparse_kernels_are_faster(file_and_data, sparse_steps, sparse_ms, outcome, reason):
    path, data = file_and_data

    result = run(path, sparse_steps, data, sparse_race=race(1.0, sparse_ms))

    assert (result.passes[1].outcome, result.passes[1].reason) == (outcome, reason)
    assert result.is_sparse == (outcome == "kept")
    assert (result.passes[1].latency_before_ms, result.passes[1].latency_after_ms) == (1.0, sparse_ms)


def test_zeros_whose_worth_cannot_be_measured_are_undone(file_and_data, sparse_steps):
    path, data = file_and_data

    def fails(_before, _after):
        raise Unfit("sparse-not-measured", "the gain of 2:4 could not be measured here", "Leave it out")

    failed = run(path, sparse_steps, data, sparse_race=fails)
    absent = run(path, sparse_steps, data)

    assert (failed.passes[1].outcome, failed.passes[1].reason) == ("undone", "the gain of 2:4 could not be measured here")
    assert (absent.passes[1].outcome, absent.is_sparse) == ("undone", False)


def test_zeros_are_not_offered_without_tensorrt(file_and_data):
    path, data = file_and_data

    with pytest.raises(Unfit) as unfit:
        run(path, Recipe("test", (make_step("fold", {}), make_step("sparsify_2_4", {})), quantizes=False), data)

    assert unfit.value.code == "pass-unavailable"
    assert "tensorrt_rtx: " in unfit.value.message


def test_a_pass_for_size_that_saves_none_is_undone(file_and_data):
    path, data = file_and_data

    result = run(path, recipe(FakePass(scale_head, "size")), data)

    assert result.passes[0].outcome == "undone"
    assert "bytes on the wire" in result.passes[0].reason


def test_a_clean_up_that_changes_the_outputs_is_undone(file_and_data):
    path, data = file_and_data

    result = run(path, recipe(FakePass(lambda model: scale_head(model, 1.5))), data)

    assert (result.passes[0].outcome, result.passes[0].reason) == ("undone", "it changed the outputs")


def test_nothing_to_do_is_a_stated_no_op(file_and_data):
    path, _ = file_and_data

    result = run(path, recipe(FakePass(None)))

    assert (result.passes[0].outcome, result.passes[0].reason, result.changed) == ("nothing", "there was nothing to do", False)


@pytest.mark.parametrize(
    ("change", "ensures", "words"),
    [
        (lambda model: None, {"shared-weights"}, "ensures shared-weights"),
        (lambda model: scale_head(model, float("nan")), (), "not finite"),
        (lambda model: setattr(model.graph.output[0], "name", "other"), (), "changed the model's outputs"),
    ],
)
def test_a_pass_that_breaks_its_word_is_our_fault(file_and_data, change, ensures, words):
    path, _ = file_and_data

    with pytest.raises(Faulty) as failed:
        run(path, recipe(FakePass(change, ensures=ensures)))

    assert (failed.value.code, words in failed.value.message) == ("pass-broken", True)


def test_a_pass_that_needs_data_is_refused_without_any(file_and_data):
    path, _ = file_and_data
    steps = Recipe("test", (make_step("fold", {}), make_step("share_weights", {"ratio": 4.0})), quantizes=False)

    with pytest.raises(Rejected) as refused:
        run(path, steps)

    assert refused.value.code == "data-missing"


def test_a_pass_that_cannot_run_here_says_why(file_and_data):
    path, _ = file_and_data

    with pytest.raises(Unfit) as unfit:
        run(path, recipe(FakePass(None, reason="no such hardware")))

    assert (unfit.value.code, "no such hardware" in unfit.value.message) == ("pass-unavailable", True)


def test_a_cancel_stops_in_the_middle(file_and_data):
    path, data = file_and_data
    steps = Recipe("test", (make_step("fold", {}), make_step("factorize", {"macs_ratio": 0.8})), quantizes=False)

    with pytest.raises(Unfit) as stopped:
        compress(path, steps, data, Settings(), is_classifier=True, progress=lambda *_: None, cancel=lambda: True)

    assert stopped.value.code == "cancelled"


def test_the_input_file_is_never_touched(file_and_data):
    path, data = file_and_data
    before = path.read_bytes()

    run(path, Recipe("test", (make_step("fold", {}), make_step("share_weights", {"ratio": 4.0})), quantizes=False), data)

    assert path.read_bytes() == before


def test_samples_that_are_all_equal_do_not_break_it(file_and_data, tmp_path):
    path, _ = file_and_data
    np.savez(tmp_path / "same.npz", x=np.ones((12, 3, 12, 12), np.float32))
    data = open_dataset(tmp_path / "same.npz", ModelCard(), input_specs(onnx.load(path)))
    names = [("fold", {}), ("prune_channels", {"macs_ratio": 0.8, "step": 2}), ("factorize", {"macs_ratio": 0.8}), ("share_weights", {"ratio": 4.0})]

    result = run(path, Recipe("test", tuple(make_step(*entry) for entry in names), quantizes=False), data)

    assert all(np.isfinite(numpy_helper.to_array(tensor)).all() for tensor in result.model.graph.initializer)
    assert any("only 12 samples" in note for note in result.notes)


def test_dead_channels_and_few_samples_do_not_break_it(file_and_data, tmp_path):
    path, _ = file_and_data
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == "t1/b":  # the first half of the first layer's channels never leaves zero
            bias = numpy_helper.to_array(tensor).copy()
            bias[: len(bias) // 2] = -1e4
            tensor.CopyFrom(numpy_helper.from_array(bias, tensor.name))
    onnx.save(model, tmp_path / "dead.onnx")
    np.savez(tmp_path / "few.npz", x=np.random.default_rng(0).standard_normal((3, 3, 12, 12)).astype(np.float32))
    data = open_dataset(tmp_path / "few.npz", ModelCard(), input_specs(model))
    names = [("fold", {}), ("prune_channels", {"macs_ratio": 0.8, "step": 2}), ("factorize", {"macs_ratio": 0.8}), ("share_weights", {"ratio": 4.0})]

    result = run(tmp_path / "dead.onnx", Recipe("test", tuple(make_step(*entry) for entry in names), quantizes=False), data)

    assert [report.outcome for report in result.passes] == ["kept"] * 4
    assert all(np.isfinite(numpy_helper.to_array(tensor)).all() for tensor in result.model.graph.initializer)
    # What is never seen to live goes first.
    assert result.passes[1].agreement_unrepaired is not None
    assert result.passes[1].damage < 0.1


def test_a_network_with_nothing_to_compress_is_left_as_it_is_with_reasons(maker, tmp_path):
    m = maker(2, (6, 6), 3)
    model = m.head(m.conv("x", 1, (1, 1), pads=[0, 0, 0, 0]), 2)
    onnx.save(model, tmp_path / "tiny.onnx")
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).standard_normal((16, 2, 6, 6)).astype(np.float32))
    data = open_dataset(tmp_path / "x.npz", ModelCard(), input_specs(model))
    names = [("factorize", {"macs_ratio": 0.8}), ("prune_channels", {"macs_ratio": 0.8}), ("share_weights", {"ratio": 4.0})]

    result = run(tmp_path / "tiny.onnx", Recipe("test", (make_step("fold", {}), *(make_step(*entry) for entry in names)), quantizes=False), data)

    assert [report.outcome for report in result.passes[1:]] == ["nothing"] * 3
    assert all(report.reason for report in result.passes[1:])
