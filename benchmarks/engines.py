"""What the engine layer costs: a second deployment of the same model, the runner over the bare runtime, and a build that asks for too much.

    .venv/bin/python benchmarks/engines.py MODEL --calibration DATA [--rounds 5] [--seconds 2] [--json]

- **again**: the task `optimize` in a worker child, as the agent runs it from VERIFIED to MEASURED, for a model that this device has built before,
  with the recipe of a deployment that names none. The benchmark's own time is what its last stage takes for the same engines, and is taken off.
- **overhead**: `Runner.infer` against a loop over the same session's `run`, written by hand, in turns of 20 ms in one process; the ratio of medians
  per round.
- **cancel**: a build that is inside the runtime's loading of a model, from the cancel to the child's end; and through a fleet on loopback, from
  the command to the end that the controller hears of.
- **memory**: a model of 4 kB whose constants grow to 8 GB when it is loaded, built under a limit of 2 GB; this process's memory around it.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
import numpy as np
from edgewright.cli.output import json_option, number, print_json, print_table
from edgewright.engines.base import BuildOptions
from edgewright.engines.discovery import load_backend
from edgewright.engines.ort.library import onnxruntime_library
from edgewright.pipeline.child import Limits, Outcome, run_child
from edgewright.pipeline.measure import zeros_for
from edgewright.pipeline.memory import group_rss_mb
from edgewright.pipeline.request import BuildRequest, OptimizeRequest, OptimizeResult
from spread import Conditions, Spread, conditions, conditions_line

if TYPE_CHECKING:
    from edgewright.cli.demo.loopback import LoopbackFleet
    from edgewright.controller.reports import TargetView

PATIENT = Limits(time_s=1800, nice=0)
TURN_S = 0.02
LIMIT_MB = 2000.0
SHORTEST_S = 0.05


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from VERIFIED to MEASURED; `first_s` builds and calibrates, `again_s` finds everything, its measuring of `engines` taken off."""

    model_mb: float
    first_s: float
    engines: tuple[str, ...]
    measuring_s: float
    again_s: Spread


class Overhead(msgspec.Struct, frozen=True, kw_only=True):
    """Microseconds per inference by hand and through the runner; `ratio` of the medians, per round."""

    model: str
    bare_us: Spread
    runner_us: Spread
    ratio: Spread


class Cancel(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from a cancel until nothing of the build is left: in this process, and through controller, broker and agent."""

    child_s: Spread
    agent_s: Spread


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """How the greedy build ended, and what it did to this process."""

    kind: str
    code: str
    limit_mb: float
    peak_mb: float
    seconds: float
    before_mb: float
    after_mb: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--json`` prints."""

    conditions: Conditions
    again: Again
    overhead: tuple[Overhead, ...]
    cancel: Cancel
    memory: Memory


@click.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option("--calibration", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.05, 60), default=2.0, show_default=True, help="Of each side of each overhead round.")
@json_option
def main(model: Path, calibration: Path, rounds: int, seconds: float, as_json: bool) -> None:
    """Measure MODEL and print one table."""
    result = Result(
        again=deploy_again(model.resolve(), calibration.resolve(), rounds),
        overhead=tuple(measure_overhead(path, rounds, seconds) for path in (model.resolve(), _tiny_model())),
        cancel=cancel_builds(rounds),
        memory=build_too_much(),
        conditions=conditions("", Path(tempfile.gettempdir())),
    )
    if as_json:
        print_json(result)
        return
    rows = [["second deployment", f"{number(result.again.again_s.median, 's')}", "< 2 s", _beside(result.again)]]
    rows += [
        [f"runner over bare loop, {entry.model}", f"{entry.ratio.median:.4f}", "≤ 1.02", f"{entry.bare_us.median:.1f} µs by hand"]
        for entry in result.overhead
    ]
    rows += [
        ["cancel of a running build, the child", f"{result.cancel.child_s.median:.2f} s", "≤ 2 s", f"at most {result.cancel.child_s.max:.2f} s"],
        ["cancel of a running build, the fleet", f"{result.cancel.agent_s.median:.2f} s", "≤ 2 s", f"at most {result.cancel.agent_s.max:.2f} s"],
    ]
    grown = result.memory.after_mb - result.memory.before_mb
    rows += [
        ["8 GB build under 2 GB", result.memory.code, "out-of-memory", f"peak {result.memory.peak_mb:.0f} MB after {result.memory.seconds:.1f} s"],
        ["this process's memory", f"{grown:+.1f} MB", "unchanged", f"{result.memory.before_mb:.0f} MB before"],
    ]
    print_table(["what", "measured", "wanted", "beside it"], rows)
    click.echo(conditions_line(result.conditions))


def _beside(again: Again) -> str:
    return f"the first took {again.first_s:.1f} s; measuring {len(again.engines)} engines took {again.measuring_s:.1f} s more"


def deploy_again(model: Path, calibration: Path, rounds: int) -> Again:
    """The agent's work for the same order twice and more, each in a fresh worker child."""
    with tempfile.TemporaryDirectory(prefix="edgewright-bench-") as folder:
        state = Path(folder)

        def run(name: str) -> tuple[float, OptimizeResult]:
            out = state / name
            out.mkdir()
            request = OptimizeRequest(
                model=str(model),
                calibration=str(calibration),
                evaluation=None,
                out=str(out),
                bench_seconds=SHORTEST_S,
                identity=str(state),
                cache=str(state / "cache"),
            )
            started = time.monotonic()
            outcome = _done(run_child("optimize", msgspec.json.encode(request), PATIENT))
            taken_s = time.monotonic() - started
            return taken_s, msgspec.json.decode(outcome.result or b"", type=OptimizeResult)

        first_s, first = run("first")
        measuring_s = _measuring_s(first)
        again = [run(f"again-{index}") for index in range(rounds)]
        for _, result in again:
            assert all(candidate.is_cached for candidate in result.candidates), result.candidates
            assert len(result.candidates) == len(first.candidates), result.notes
    return Again(
        model_mb=model.stat().st_size / 1e6,
        first_s=first_s,
        engines=tuple(candidate.name for candidate in first.candidates),
        measuring_s=measuring_s,
        again_s=Spread.of([taken_s - measuring_s for taken_s, _ in again]),
    )


def _measuring_s(result: OptimizeResult) -> float:
    """What `measure_timing` itself takes for the engines of `result`, with the same shortest measurement."""
    from edgewright.pipeline.measure import EngineUnderTest, measure_timing

    engines = {entry.name: EngineUnderTest(entry.backend, Path(entry.path), BuildOptions()) for entry in result.candidates}
    taken = []
    for _ in range(3):
        started = time.monotonic()
        measure_timing(engines, dict.fromkeys(engines), seconds=SHORTEST_S, batch=1)
        taken.append(time.monotonic() - started)
    return statistics.median(taken)


def measure_overhead(model: Path, rounds: int, seconds: float) -> Overhead:
    """`Runner.infer` against `session.run`, each on a session of its own, in short turns."""
    onnxruntime = onnxruntime_library()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(model), settings, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    with load_backend("onnxruntime").open(model, BuildOptions(provider="CPUExecutionProvider")) as runner:
        feeds = zeros_for(runner.inputs, 1)
        sides: tuple[Callable[[], object], Callable[[], object]] = (lambda: session.run(names, feeds), lambda: runner.infer(feeds))
        bare, wrapped = [], []
        for _ in range(rounds):
            first, second = _interleaved_us(sides, seconds)
            bare.append(first)
            wrapped.append(second)
    ratios = [second / first for first, second in zip(bare, wrapped, strict=True)]
    return Overhead(model=model.name, bare_us=Spread.of(bare), runner_us=Spread.of(wrapped), ratio=Spread.of(ratios, 4))


def _interleaved_us(sides: tuple[Callable[[], object], Callable[[], object]], seconds: float) -> tuple[float, float]:
    """The median call of each side, the two taking turns until each had `seconds`; the order of the two changes each turn."""
    samples: tuple[list[int], list[int]] = ([], [])
    turn = 0
    spent_s = 0.0
    while spent_s < 2 * seconds:
        started = time.perf_counter()
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            call, found = sides[side], samples[side]
            call()
            until = time.perf_counter_ns() + int(TURN_S * 1e9)
            before = time.perf_counter_ns()
            while before < until:
                call()
                after = time.perf_counter_ns()
                found.append(after - before)
                before = after
        spent_s += time.perf_counter() - started
        turn += 1
    first, second = (statistics.median(found) / 1000 for found in samples)
    return first, second


def cancel_builds(rounds: int) -> Cancel:
    """A model whose loading multiplies matrices for minutes, in one call of the runtime that nothing interrupts but the child's end."""
    with tempfile.TemporaryDirectory(prefix="edgewright-bench-") as folder:
        path = Path(folder) / "slow.onnx"
        path.write_bytes(_slow_model(1024, 1000))
        return Cancel(
            child_s=Spread.of([_cancel_child(path, Path(folder) / f"engine-{index}") for index in range(rounds)]),
            agent_s=Spread.of(_cancel_by_fleet(path, Path(folder) / "fleet", rounds)),
        )


def _cancel_child(path: Path, out: Path) -> float:
    cancel, cancelled_s = threading.Event(), 0.0

    def on_progress(share: float, _note: str) -> None:
        nonlocal cancelled_s
        if share > 0 and not cancel.is_set():
            cancelled_s = time.monotonic()
            cancel.set()

    request = BuildRequest(model=str(path), out=str(out), backend="onnxruntime", identity=str(out.parent))
    outcome = run_child("build", msgspec.json.encode(request), PATIENT, on_progress=on_progress, cancel=cancel)
    assert outcome.kind == "cancelled", outcome
    return time.monotonic() - cancelled_s


def _cancel_by_fleet(path: Path, folder: Path, rounds: int) -> list[float]:
    from edgewright.cli.demo.loopback import LoopbackFleet
    from edgewright.controller.enrollment import Address

    with LoopbackFleet(folder) as fleet:
        served = fleet.serve("auto")
        fleet.start_agents(["board"], Address(served.host, served.port))
        return [_cancel_deployment(fleet, path) for _ in range(rounds)]


def _cancel_deployment(fleet: LoopbackFleet, path: Path) -> float:
    from edgewright.controller.orders import new_deployment_id
    from edgewright.controller.packing import MODEL_NAME, pack_model
    from edgewright.core.wire.messages import Order

    order = Order(deployment=new_deployment_id("slow"), version="1", model=pack_model(fleet.blobs, path), model_file=MODEL_NAME, recipe="none")
    fleet.orders.deploy("slow", order, ["board"], time.time())

    def target() -> TargetView:
        return fleet.reports.deployment(order.deployment).devices[0]

    _wait_for(lambda: target().progress is not None)
    started = time.monotonic()
    fleet.orders.command("board", "cancel", deployment=order.deployment, model=None, now_s=time.time())
    _wait_for(lambda: target().is_over)
    assert target().state == "CANCELED", target()
    return time.monotonic() - started


def _wait_for(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not look():
        if time.monotonic() > deadline:
            raise click.ClickException("the fleet does not answer")
        time.sleep(0.01)


def build_too_much() -> Memory:
    """Sixteen constants of half a gigabyte, grown from a few bytes while the model is loaded."""
    with tempfile.TemporaryDirectory(prefix="edgewright-bench-") as folder:
        path = Path(folder) / "greedy.onnx"
        path.write_bytes(_greedy_model(512, 16))
        before_mb = group_rss_mb(os.getpid())
        request = BuildRequest(model=str(path), out=str(Path(folder) / "engine"), backend="onnxruntime", identity=folder)
        outcome = run_child("build", msgspec.json.encode(request), Limits(time_s=600, memory_mb=LIMIT_MB))
    return Memory(
        kind=outcome.kind,
        code=outcome.reason.code if outcome.reason is not None else "",
        limit_mb=LIMIT_MB,
        peak_mb=outcome.peak_mb,
        seconds=outcome.seconds,
        before_mb=before_mb,
        after_mb=group_rss_mb(os.getpid()),
    )


def _greedy_model(step_mb: int, steps: int) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    weights = [numpy_helper.from_array(np.array([step_mb * 1024 * 256], np.int64), "shape")]
    nodes = []
    previous = "x"
    for step in range(steps):
        weights.append(numpy_helper.from_array(np.full(1, step + 1, np.float32), f"c{step}"))
        nodes.append(helper.make_node("Expand", [f"c{step}", "shape"], [f"b{step}"]))
        nodes.append(helper.make_node("Add", [previous, f"b{step}"], [f"a{step}"]))
        nodes.append(helper.make_node("ReduceSum", [f"a{step}"], [f"s{step}"], keepdims=1))
        previous = f"s{step}"
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", previous)]
    graph = helper.make_graph(nodes, "greedy", values[:1], values[1:], weights)
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())


def _slow_model(side: int, steps: int) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    weights = [numpy_helper.from_array(np.array([side, side], np.int64), "shape"), numpy_helper.from_array(np.full(1, 1 / side, np.float32), "c")]
    nodes = [helper.make_node("Expand", ["c", "shape"], ["m0"])]
    nodes += [helper.make_node("MatMul", [f"m{step}", f"m{step}"], [f"m{step + 1}"]) for step in range(steps)]
    nodes += [helper.make_node("ReduceMean", [f"m{steps}"], ["mean"], keepdims=0), helper.make_node("Add", ["x", "mean"], ["y"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "slow", values[:1], values[1:], weights)
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())


def _tiny_model() -> Path:
    """The demo's own classifier: the smaller the model, the more an adapter shows."""
    from edgewright.cli import demo

    return next(path for folder in demo.__path__ for path in Path(folder).glob("*.onnx"))


def _done(outcome: Outcome) -> Outcome:
    if outcome.reason is not None:
        raise click.ClickException(outcome.reason.line())
    return outcome


if __name__ == "__main__":
    main()
