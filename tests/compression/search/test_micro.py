"""Micro-models run, and compute in the setting that they stand for."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from edgewright.compression.network import Geometry
from edgewright.compression.search.micro import micro_model
from edgewright.compression.search.plan import Variant

CONV = Geometry(8, 16, 1, (3, 3), (2, 2), (1, 1), (1, 1, 1, 1))
POINT = Geometry(16, 24, 1, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
DEPTHWISE = Geometry(8, 8, 8, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
COLOURS = Geometry(3, 16, 1, (3, 3), (2, 2), (1, 1), (0, 0, 0, 0))
LINE = Geometry(8, 16, 1, (3,), (1,), (1,), (1, 1))
MATRIX = Geometry(32, 10)


def run(variant):
    model = micro_model(variant)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    value = session.get_inputs()[0]
    kind = {"tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(float)": np.float32}[value.type]
    return session.run(None, {"x": np.ones(value.shape, kind)})[0]


@pytest.mark.parametrize("setting", ["codes", "island", "float"])
@pytest.mark.parametrize(
    ("chain", "size", "channels", "places"),
    [((CONV, POINT), (9, 9), 24, (5, 5)), ((DEPTHWISE,), (7, 7), 8, (7, 7)), ((COLOURS,), (9, 9), 16, (4, 4)), ((LINE,), (9,), 16, (9,))],
    ids=["two in a row", "depthwise", "three colours", "one axis"],
)
def test_a_variant_runs_and_has_the_shape_of_its_layers(setting, chain, size, channels, places):
    found = run(Variant(chain, size, setting))

    assert found.shape == ((1, channels, *places) if setting == "float" else (1, *places, channels))
    assert (found.dtype == np.float32) is (setting == "float")


@pytest.mark.parametrize("setting", ["codes", "island", "float"])
def test_a_matrix_leaves_as_numbers(setting):
    found = run(Variant((MATRIX,), (1,), setting))

    assert (found.shape, found.dtype) == ((1, 10), np.float32)


@pytest.mark.parametrize("setting", ["codes", "island", "float"])
def test_a_launch_computes_nothing(setting):
    assert run(Variant((), (), setting)).shape == (1, 16)


def test_layers_in_codes_become_integer_kernels(tmp_path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(
        micro_model(Variant((CONV, POINT), (9, 9), "codes")).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]

    assert kinds.count("QLinearConv") == 2
    assert not {"Conv", "QuantizeLinear", "DequantizeLinear"} & set(kinds)


def test_a_sparse_variant_has_two_zeros_in_every_four_weights_and_another_key():
    dense, sparse = Variant((CONV,), (9, 9), "codes"), Variant((CONV,), (9, 9), "codes", is_sparse=True)

    codes = max((onnx.numpy_helper.to_array(tensor) for tensor in micro_model(sparse).graph.initializer), key=lambda value: value.size)

    fours = codes.reshape(16, 2, 4, -1)
    assert ((fours != 0).sum(2) <= 2).all()
    assert codes.any()
    assert dense.key != sparse.key
