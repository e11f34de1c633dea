"""The naive ways reach the MACs that they are compared at, and ruin what they touch no less than they should."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration.normalize import normalized_model
from edgewright.compression.network import Network


@pytest.fixture
def network(models, tmp_path):
    return Network(normalized_model(models.save(models.wide_classifier(), tmp_path / "wide.onnx", models.ARRAY_CARD)).model)


def test_channels_of_least_norm_go_first(benchmark, network):
    made = Network(benchmark("naive_compression").naive_pruned(network, 0.8))

    assert made.macs <= 0.8 * network.macs
    first = network.layers[0]
    norms = np.abs(network.weight(first)).reshape(first.geometry.channels_out, -1).sum(1)
    kept = made.weight(made.layers[0])
    assert len(kept) < first.geometry.channels_out
    expected = np.sort(np.argsort(norms)[-len(kept) :])
    assert kept == pytest.approx(network.weight(first)[expected])


def test_layers_are_cut_to_the_ratio_by_their_singular_values(benchmark, network):
    made = Network(benchmark("naive_compression").naive_factorized(network, 0.7))

    assert made.macs < network.macs
    assert len(made.layers) > len(network.layers)
