"""Rewrites stay when this machine runs them faster."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgewright.calibration import rewriting as all_rewrites
from edgewright.core.measurement import Latency
from edgewright.pipeline import rewriting
from edgewright.pipeline.rewriting import write_rewritten


@pytest.fixture
def coded(models, tmp_path):
    """Three colours, nine taps: what padding is for."""
    weights = {
        "w": np.ones((8, 3, 3, 3), np.int8),
        "ws": np.full(8, 0.01, np.float32),
        "wz": np.zeros(8, np.int8),
        "s": np.float32(0.02),
        "z": np.uint8(3),
    }
    nodes = [
        models.node("QuantizeLinear", ["input", "s", "z"], ["q"]),
        models.node("DequantizeLinear", ["q", "s", "z"], ["x"]),
        models.node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        models.node("Conv", ["x", "wd"], ["c"]),
        models.node("QuantizeLinear", ["c", "s", "z"], ["cq"]),
        models.node("DequantizeLinear", ["cq", "s", "z"], ["y"]),
    ]
    path = tmp_path / "coded.onnx"
    onnx.save(models.model(nodes, {"input": [1, 3, 16, 16]}, {"y": None}, weights), path)
    return path


def timed(monkeypatch, after_ms):
    """What the race says: the rewritten model takes `after_ms` instead of one."""
    latency = lambda ms: Latency(mean=ms, p50=ms, p90=None, p99=None, samples=10)
    monkeypatch.setattr(rewriting, "race", lambda *_: (latency(1.0), latency(after_ms)))


def test_what_is_faster_here_is_written_and_said(coded, tmp_path, monkeypatch):
    timed(monkeypatch, 0.8)

    notes = write_rewritten(coded, tmp_path / "out.onnx", threads=1, cancel=lambda: False)

    assert len(notes) == 1
    assert "0.800 of the time" in notes[0]
    assert "Pad" in [node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node]


def test_what_is_not_faster_here_is_not_kept(coded, tmp_path, monkeypatch):
    timed(monkeypatch, 0.998)

    assert write_rewritten(coded, tmp_path / "out.onnx", threads=1, cancel=lambda: False) == ()
    assert not (tmp_path / "out.onnx").exists()


def test_the_rewrites_are_found_in_their_folder():
    assert all_rewrites.rewrite_names() == ("pad_channels", "stay_in_codes")
    assert all(all_rewrites.load_rewrite(name).words for name in all_rewrites.rewrite_names())
