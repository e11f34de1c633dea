"""One small engine, built by the real pipeline: what the short worker hands out, thousands of times."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import numpy as np
import onnx
from edgewright.core.profile import Profile, ProfileOrder
from edgewright.pipeline.optimize import optimize
from edgewright.pipeline.request import OptimizeRequest, OptimizeResult
from edgewright.profiling.conditions import Workload, conditions_between, take_snapshot
from onnx import TensorProto, helper, numpy_helper

ANSWER = "answer.json"
PROFILE = "profile.json"
RUNTIME = "runtime"
KEYS = ("engines.key", "engines.pub")
WORKER = "worker"


def small_model(path: Path, seed: int = 0, size: int = 8) -> Path:
    """A MatMul of `size` × `size` known numbers."""
    weights = np.random.default_rng(seed).standard_normal((size, size)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["input", "w"], ["output"])],
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, size])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, size])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def prepare_engines(folder: Path) -> OptimizeResult:
    """Fill `folder`: the chosen engine's folder, the pipeline's answer, a profile, the device's keys, and the worker's program."""
    out, identity = folder / "out", folder / "identity"
    for path in (out, identity):
        path.mkdir(parents=True)
    model = small_model(folder / "model.onnx")
    result = optimize(
        OptimizeRequest(model=str(model), calibration=None, evaluation=None, out=str(out), recipe="none", bench_seconds=0.05, identity=str(identity)),
        progress=lambda _share, _note: None,
        cancel=lambda: False,
    )
    assert result.chosen is not None
    (out / result.chosen.name).rename(folder / result.chosen.name)
    (folder / ANSWER).write_bytes(msgspec.json.encode(result))
    nothing = Profile(
        order=ProfileOrder(seconds=0.1),
        latency_ms=None,
        histogram=None,
        energy_mj=None,
        energy_reason="there is no sensor here",
        conditions=conditions_between(take_snapshot(Path("/")), take_snapshot(Path("/")), Workload()),
    )
    (folder / PROFILE).write_bytes(msgspec.json.encode(nothing))
    program = folder / WORKER
    script = Path(__file__).with_name("short_worker.py")
    program.write_text(f'#!/bin/sh\nexec {_python()} -ISE {script} "$@"\n', "utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return result


def _python() -> str:
    """The interpreter itself: a virtual environment's start-up would cost more than the work."""
    return os.path.realpath("/proc/self/exe")
