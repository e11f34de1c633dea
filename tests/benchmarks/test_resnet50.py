"""The large network of the benchmark has the published size of ResNet-50."""

from __future__ import annotations

import onnx
import pytest
from edgewright.compression.network import Network


def test_it_has_the_layers_weights_and_operations_of_resnet_50(benchmark):
    network = Network(benchmark("resnet50").resnet50())

    onnx.checker.check_model(network.model)
    # He et al. 2016, with the stride in the 3×3 convolution: 25.56 million parameters, 53,120 of them batch norms' scales, 4.09 billion MACs.
    assert len(network.layers) == 54
    assert network.params == 25_557_032 - 53_120 // 2
    assert network.macs == pytest.approx(4.09e9, rel=0.005)
