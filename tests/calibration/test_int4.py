"""INT4 weights in blocks, held against unpacked arithmetic and against what ONNX Runtime computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgewright.calibration.graph import Graph
from edgewright.calibration.int4 import block_codes, int4_model, packed, write_int4
from edgewright.calibration.normalize import normalized_model
from edgewright.calibration.opset import at_least
from edgewright.core.card import ModelCard
from edgewright.core.dataset import open_dataset
from edgewright.core.errors import Rejected
from edgewright.engines.model import input_specs

RANDOM = np.random.default_rng(11)
WEIGHT = RANDOM.normal(0, 0.3, (96, 64)).astype(np.float32)
BIAS = RANDOM.normal(0, 0.3, 64).astype(np.float32)
X = RANDOM.normal(0, 1, (5, 96)).astype(np.float32)


def unpacked(tensor):
    """Two's complement of four bits, the lower half of each byte first."""
    halves = [code for byte in tensor.raw_data for code in (byte & 15, byte >> 4)][: int(np.prod(tensor.dims))]
    return np.array([code - 16 if code > 7 else code for code in halves]).reshape(list(tensor.dims))


@pytest.fixture
def graph(models, tmp_path):
    def build(proto):
        return Graph(at_least(normalized_model(models.save(proto, tmp_path / "m.onnx")).model, 21, "INT4"))

    return build


@pytest.mark.parametrize("shape", [(4, 8), (3, 5)])
def test_codes_are_packed_two_a_byte(shape):
    codes = RANDOM.integers(-8, 8, shape).astype(np.int8)

    tensor = packed(codes, "w")

    assert np.array_equal(unpacked(tensor), codes)
    assert len(tensor.raw_data) == -(-codes.size // 2)


def test_each_block_of_each_output_has_its_own_scale():
    blocks = block_codes(WEIGHT)

    assert blocks.scales.shape == (3, 64)
    real = blocks.codes * np.repeat(blocks.scales, 32, axis=0)
    largest = np.abs(WEIGHT.reshape(3, 32, 64)).max(axis=1)
    assert np.all(np.abs(real - WEIGHT).reshape(3, 32, 64).max(axis=1) <= largest * 0.31)


def test_the_scale_of_a_block_is_never_worse_than_that_of_its_largest_weight():
    def error(scales):
        wide = np.repeat(scales, 32, axis=0)
        return ((np.clip(np.rint(WEIGHT / wide), -8, 7) * wide - WEIGHT) ** 2).reshape(3, 32, 64).sum(axis=1)

    plain = np.abs(WEIGHT.reshape(3, 32, 64)).max(axis=1) / 7

    found = error(block_codes(WEIGHT).scales)
    assert np.all(found <= error(plain) + 1e-9)
    assert found.sum() < error(plain).sum() * 0.95


def test_a_shorter_last_block_and_a_block_of_zeros_are_coded():
    matrix = np.concatenate([np.zeros((32, 2)), np.full((8, 2), 0.7)]).astype(np.float32)

    blocks = block_codes(matrix)

    assert blocks.codes.shape == (40, 2)
    np.testing.assert_allclose(blocks.codes * np.repeat(blocks.scales, 32, axis=0)[:40], matrix, atol=1e-6)


@pytest.mark.parametrize("transposed", [0, 1])
def test_onnxruntime_computes_with_the_codes(models, graph, transposed):
    weight = WEIGHT.T.copy() if transposed else WEIGHT
    proto = models.model(
        [models.node("Gemm", ["x", "w", "b"], ["y"], transB=transposed)], {"x": ["N", 96]}, {"y": ["N", 64]}, {"w": weight, "b": BIAS}
    )

    written = int4_model(graph(proto))
    onnx.checker.check_model(written.model, full_check=True)

    tensors = {tensor.name: tensor for tensor in written.model.graph.initializer}
    codes = next(unpacked(tensor) for tensor in tensors.values() if tensor.data_type == onnx.TensorProto.INT4)
    scales = next(onnx.numpy_helper.to_array(tensor) for name, tensor in tensors.items() if name.endswith("/scale"))
    expected = X.astype(np.float64) @ (codes * np.repeat(scales, 32, axis=0)) + BIAS
    assert written.layers == 1
    np.testing.assert_allclose(models.run(written.model, {"x": X})["y"], expected, rtol=1e-4, atol=1e-4)


def test_what_stays_is_told_with_its_reason(models, graph):
    nodes = [
        models.node("MatMul", ["x", "w"], ["a"]),
        models.node("Gemm", ["a", "v"], ["b"], alpha=2.0),
        models.node("MatMul", ["b", "t"], ["c"]),
        models.node("MatMul", ["c", "c"], ["y"]),
    ]
    weights = {"w": WEIGHT, "v": RANDOM.normal(size=(64, 64)).astype(np.float32), "t": RANDOM.normal(size=(64, 5)).astype(np.float32)}
    proto = models.model(nodes, {"x": [5, 96]}, {"y": [5, 5]}, weights)

    written = int4_model(graph(proto))

    assert written.layers == 1
    assert [(entry.node, entry.reason) for entry in written.kept] == [
        ("b", "it scales or transposes its input"),
        ("c", "it has too few weights to gain from INT4"),
        ("y", "its weights are not constant"),
    ]


def test_from_file_to_file_it_is_an_eighth_and_proven(models, tmp_path):
    nodes = [models.node("MatMul", ["x", "w"], ["h"]), models.node("Relu", ["h"], ["r"]), models.node("MatMul", ["r", "v"], ["y"])]
    weights = {"w": RANDOM.normal(0, 0.1, (256, 512)).astype(np.float32), "v": RANDOM.normal(0, 0.1, (512, 256)).astype(np.float32)}
    path = models.save(models.model(nodes, {"x": ["N", 256]}, {"y": ["N", 256]}, weights), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=RANDOM.normal(size=(20, 256)).astype(np.float32))
    dataset = open_dataset(tmp_path / "x.npz", ModelCard(), input_specs(onnx.load(str(path))))
    (tmp_path / "out").mkdir()

    result = write_int4(path, dataset, tmp_path / "out", threads=1)

    assert result.changed == 2
    assert result.sqnr_db > 15
    # Half a byte a weight, and four bytes a block of 32.
    assert result.path.stat().st_size < path.stat().st_size * (0.5 + 4 / 32) / 4 * 1.05
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["model.int4.onnx"]


def test_a_network_of_convolutions_is_refused_with_the_way_out(models, tiny_classifier, tiny_samples, tmp_path):
    dataset = open_dataset(tiny_samples, ModelCard(), input_specs(onnx.load(str(tiny_classifier))))

    with pytest.raises(Rejected) as caught:
        write_int4(tiny_classifier, dataset, tmp_path)

    assert caught.value.code == "nothing-to-quantise"
    assert "--precision int8" in caught.value.next_step
