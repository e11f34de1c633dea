"""A classifier written as a 1×1 convolution becomes the matrix product that it is."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration.normalize import normalized_model

RANDOM = np.random.default_rng(2)
WEIGHT = RANDOM.normal(size=(5, 8, 1, 1)).astype(np.float32)
BIAS = RANDOM.normal(size=5).astype(np.float32)
X = RANDOM.normal(size=(3, 8, 4, 4)).astype(np.float32)


def head(models, *, pooled=True, flatten=1, group=1, **attributes):
    nodes = [models.node("GlobalAveragePool" if pooled else "Relu", ["x"], ["g"])]
    nodes += [models.node("Conv", ["g", "w", "b"], ["c"], group=group, **attributes), models.node("Flatten", ["c"], ["y"], axis=flatten)]
    weight = WEIGHT if group == 1 else RANDOM.normal(size=(8, 1, 1, 1)).astype(np.float32)
    bias = BIAS if group == 1 else np.zeros(8, np.float32)
    return models.model(nodes, {"x": ["N", 8, 4, 4]}, {"y": None}, {"w": weight, "b": bias})


def normal(models, proto, tmp_path):
    return normalized_model(models.save(proto, tmp_path / "m.onnx")).model


def test_a_head_becomes_a_gemm_with_the_same_numbers(models, tmp_path):
    proto = head(models)

    model = normal(models, proto, tmp_path)

    assert [node.op_type for node in model.graph.node] == ["GlobalAveragePool", "Flatten", "Gemm"]
    np.testing.assert_allclose(models.run(model, {"x": X})["y"], models.run(proto, {"x": X})["y"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("change", [{"pooled": False}, {"group": 8}, {"pads": [1, 1, 1, 1]}, {"flatten": 2}])
def test_what_is_no_head_stays(models, tmp_path, change):
    model = normal(models, head(models, **change), tmp_path)

    assert "Gemm" not in {node.op_type for node in model.graph.node}


def test_a_convolution_that_something_else_reads_stays(models, tmp_path):
    proto = head(models)
    proto.graph.output.append(models.onnx.helper.make_tensor_value_info("c", 1, None))

    assert "Gemm" not in {node.op_type for node in normal(models, proto, tmp_path).graph.node}
