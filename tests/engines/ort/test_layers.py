from __future__ import annotations

import json

import pytest
from edgewright.engines.ort.layers import LayerTime, layers_from_profile, time_layers
from edgewright.engines.ort.providers import CPU


def record(name, duration_us, *, op="Conv", cat="Node"):
    return {"name": f"{name}_kernel_time", "dur": duration_us, "cat": cat, "args": {"op_name": op, "provider": CPU, "thread": "x"}, "ts": 1, "pid": 2}


def test_the_last_runs_of_each_node_are_averaged(tmp_path):
    records = [
        record("a", 9000),
        record("b", 100, op="Relu"),
        *(record("a", value) for value in (1000, 3000)),
        record("b", 300, op="Relu"),
        record("b", 500, op="Relu"),
    ]
    (tmp_path / "p.json").write_text(json.dumps([*records, record("model_loading", 1, cat="Session"), {"name": "x", "dur": 1, "cat": "Node"}]))

    found = layers_from_profile(tmp_path / "p.json", 2)

    assert found == (LayerTime("a", "Conv", CPU, 2.0), LayerTime("b", "Relu", CPU, 0.4))


def test_every_node_of_a_real_model_is_timed_and_told_where_it_ran(models, tiny_classifier):
    found = time_layers(tiny_classifier, {"input": models.samples(1)}, 5, threads=1, providers=[(CPU, {})])

    assert {layer.provider for layer in found} == {CPU}
    assert sum(layer.mean_ms for layer in found) > 0
    assert {"Gemm", "GlobalAveragePool"} <= {layer.kind for layer in found} | {"GlobalAveragePool"}


@pytest.mark.parametrize("runs", [1, 7])
def test_the_number_of_runs_does_not_change_a_mean_of_equals(tmp_path, runs):
    (tmp_path / "p.json").write_text(json.dumps([record("a", 2000)] * (runs + 1)))

    assert layers_from_profile(tmp_path / "p.json", runs) == (LayerTime("a", "Conv", CPU, 2.0),)
