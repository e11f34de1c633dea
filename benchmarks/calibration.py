"""INT8 calibration side by side: Edgewright's and other tools' on the same model, samples and runtime, in one process tree.

    python benchmarks/calibration.py MODEL --calibration DATA --evaluation DATA [--part NAME …] [--peers PYTHON] [--json]

The calibration samples are decoded and preprocessed once, into a file that every side reads; the bare FP32 forward pass over them is timed in
the same process as each of our sides, before and after it, and is the unit of `observe` and `all`. Each side runs in a process of its own, so
that peak memory is its own. Parts:

- ``methods``: observing alone, per method, as multiples of the forward pass, the least of three;
- ``files``: whole calibrations and peers; fidelity on the evaluation samples, latency interleaved, one thread, batch 1;
- ``memory``: peak memory and time of a whole calibration, from the samples as they come, with 32 and with all of them, and whether it runs with
  1 GB (data and heap, RLIMIT_DATA).

Peak memory in ``files`` includes the pages of the mapped samples, alike for every side.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from edgewright.core.dataset import Dataset
from edgewright.engines.ort.library import onnxruntime_library
from edgewright.pipeline.subject import Subject, open_subject
from procfs import peak_rss_mb

PEERS = ("onnxruntime", "nncf", "onnxsim", "aimet")
OURS = ("auto", "minmax")
METHODS = ("minmax", "percentile", "entropy", "mse", "auto")
PARTS = ("methods", "files", "memory")
MEMORY_SIDES = ("few", "full", "limited")
FEW = 32
LATENCY_ROUNDS = 150
LIMIT_BYTES = 1 << 30

Row = dict[str, Any]


def preprocess(subject: Subject, data: Dataset, folder: Path) -> None:
    """Write what the model is fed into a folder of .npy files."""
    for spec in subject.inputs:
        folder.mkdir(parents=True, exist_ok=True)
        values = [batch.feeds[spec.name] for batch in data.batches(1)]
        np.save(folder / f"{spec.name}.npy", np.concatenate(values))


def forward_s(subject: Subject, data: Dataset) -> float:
    """The bare FP32 pass over the samples, as onnxruntime comes, without reading them."""
    session = onnxruntime_library().InferenceSession(str(subject.path), providers=["CPUExecutionProvider"])
    total = 0.0
    for batch in data.batches(1):
        started = time.perf_counter()
        session.run(None, batch.feeds)
        total += time.perf_counter() - started
    return total


# --- one side, in a process of its own --------------------------------------------------------------------------------------------------


def calibrate_side(method: str, model: Path, folder: Path, out: Path) -> Row:
    from edgewright.calibration.calibrate import CalibrationOptions, calibrate

    subject = open_subject(model)
    data = subject.dataset(folder)
    before = forward_s(subject, data)
    done = calibrate(subject.path, data, out, CalibrationOptions(method=method), progress=lambda *_: None, cancel=lambda: False)
    peak_mb = peak_rss_mb(os.getpid())
    bare_s = min(before, forward_s(subject, data))
    phases = done.phases
    return {
        "side": method, "path": str(done.onnxruntime), "forward_s": bare_s, "observe_s": phases.observe_s, "repair_s": phases.repair_s,
        "verify_s": phases.write_s, "seconds": done.seconds, "peak_mb": peak_mb, "skipped": len(done.skipped), "quantized": done.quantized,
    }  # fmt: skip


def observe_side(model: Path, folder: Path) -> list[Row]:
    """Observing alone, all methods, with forward passes between them."""
    from edgewright.calibration.collect import Watch, observe
    from edgewright.calibration.graph import Graph
    from edgewright.calibration.keep import KeptSamples
    from edgewright.calibration.memory import give_memory_back
    from edgewright.calibration.normalize import normalized_model
    from edgewright.calibration.plan import plan_for_onnxruntime
    from edgewright.calibration.ranges import NEEDS_HISTOGRAM
    from edgewright.calibration.tensorrt import plan_for_tensorrt

    subject = open_subject(model)
    data = subject.dataset(folder)
    give_memory_back()
    graph = Graph(normalized_model(subject.path).model)
    tensors = tuple(dict.fromkeys((*plan_for_onnxruntime(graph).observed, *plan_for_tensorrt(graph).observed)))
    rows = []
    for method in METHODS:
        ratios, shortest, passes = [], float("inf"), []
        for _ in range(3):
            passes.append(forward_s(subject, data))
            with tempfile.TemporaryDirectory() as temporary, KeptSamples(Path(temporary), 86) as kept:
                started = time.perf_counter()
                observed = observe(graph.model, Watch(tensors, method in NEEDS_HISTOGRAM, method == "auto"), data, kept)
                table = observed.table("", method)
                seconds = time.perf_counter() - started
            ratios.append(seconds / passes[-1])
            shortest = min(shortest, seconds)
        seen = sorted(entry.samples for entry in table.ranges.values())
        rows.append({
            "side": method, "ratio": statistics.median(ratios), "least_ratio": shortest / min(passes), "forward_s": min(passes),
            "seen_min": seen[0], "seen_median": seen[len(seen) // 2], "seen_max": seen[-1],
        })  # fmt: skip
    return rows


def memory_side(side: str, model: Path, data: Path, out: Path) -> Row:
    """A calibration alone, from the samples as they come: pages of a mapped file would count as memory."""
    from edgewright.calibration.calibrate import CalibrationOptions, calibrate

    if side == "limited":
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_BYTES, LIMIT_BYTES))
    subject = open_subject(model)
    dataset = subject.dataset(data)
    if side == "few":
        dataset = replace(dataset, samples=min(FEW, dataset.samples))
    done = calibrate(subject.path, dataset, out, CalibrationOptions(), progress=lambda *_: None, cancel=lambda: False)
    peak_mb = peak_rss_mb(os.getpid())
    return {"side": side, "samples": dataset.samples, "seconds": done.seconds, "repair_s": done.phases.repair_s, "peak_mb": peak_mb}


# --- all sides --------------------------------------------------------------------------------------------------------------------------


def child(side: str, model: Path, folder: Path, out: Path) -> Any:
    out.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, __file__, str(model), "--side", side, "--folder", str(folder), "--out", str(out)]
    ran = subprocess.run(argv, capture_output=True, text=True, check=False)
    if ran.returncode:
        return {"side": side, "absent": ran.stderr.strip().splitlines()[-1]}
    return json.loads(ran.stdout.splitlines()[-1])


def peer(python: str, tool: str, model: Path, folder: Path, out: Path) -> Row:
    samples = next(folder.glob("*.npy"))
    program = Path(__file__).with_name("calibration_peers.py")
    ran = subprocess.run([python, str(program), tool, str(model), str(samples), str(out)], capture_output=True, text=True, check=False)
    lines = ran.stdout.strip().splitlines()
    found: Row = json.loads(lines[-1]) if ran.returncode == 0 and lines else {"absent": (ran.stderr.strip().splitlines() or ["killed"])[-1][:200]}
    return {"side": tool, "path": str(out), **found}


def compare(model: Path, evaluation: Path, rows: list[Row]) -> None:
    """Add fidelity and latency to `rows`."""
    from edgewright.engines.backends.onnxruntime import BACKEND
    from edgewright.engines.base import BuildOptions
    from edgewright.engines.fidelity import FidelityMeter

    subject = open_subject(model)
    runners = {"fp32": BACKEND.open(model, BuildOptions())} | {row["side"]: BACKEND.open(Path(row["path"]), BuildOptions()) for row in rows}
    meters = {name: FidelityMeter(subject.classified, subject.softmax) for name in runners}
    feeds = None
    for batch in subject.dataset(evaluation).batches(1):
        feeds = batch.feeds
        reference = runners["fp32"].infer(feeds)
        for name, runner in runners.items():
            meters[name].add(reference, runner.infer(feeds), 1, batch.labels)
    times: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(LATENCY_ROUNDS):
        for name, runner in runners.items():
            started = time.perf_counter()
            runner.infer(feeds)
            times[name].append(1e3 * (time.perf_counter() - started))
    for row in rows:
        fidelity = meters[row["side"]].fidelity("evaluation")
        row |= {"sqnr_db": fidelity.sqnr_db, "agreement": fidelity.agreement, "top1": fidelity.top1, "top1_fp32": fidelity.top1_fp32}
        row |= {"p50_ms": statistics.median(times[row["side"]]), "fp32_p50_ms": statistics.median(times["fp32"])}
    for runner in runners.values():
        runner.close()


def run(asked: argparse.Namespace, work: Path) -> Row:
    model = asked.model.resolve()
    subject = open_subject(model)
    data = subject.dataset(asked.calibration.resolve())
    all_of_it = work / "all"
    preprocess(subject, data, all_of_it)
    found: Row = {"model": model.name, "samples": data.samples}
    if "methods" in asked.part:
        found["methods"] = child("observe", model, all_of_it, work / "observe")
    if "files" in asked.part:
        rows = [child(side, model, all_of_it, work / side) for side in OURS]
        bare_s = min(row["forward_s"] for row in rows if "forward_s" in row)
        peers = [peer(asked.peers, tool, model, all_of_it, work / f"{tool}.onnx") for tool in PEERS]
        rows += [{"forward_s": bare_s, **row} for row in peers]
        compare(model, asked.evaluation.resolve(), [row for row in rows if "absent" not in row])
        found["files"] = rows
    if "memory" in asked.part:
        found["memory"] = [child(side, model, asked.calibration.resolve(), work / f"memory-{side}") for side in MEMORY_SIDES]
    return found


def show(found: Row) -> None:
    for row in found.get("methods", []):
        seen = f"{row['seen_min']}/{row['seen_median']}/{row['seen_max']}"
        print(
            f"observe {row['side']:11} {row['ratio']:5.2f} x forward ({row['forward_s']:.2f} s), least {row['least_ratio']:5.2f}; samples seen {seen}"
        )
    if "files" in found:
        print(f"{'side':12} {'SQNR dB':>8} {'agree':>7} {'p50 ms':>8} {'x FP32':>7} {'observe x':>10} {'repair x':>9} {'all x':>7} {'peak MB':>8}")
    for row in found.get("files", []):
        if "absent" in row:
            print(f"{row['side']:12} not measured: {row['absent']}")
            continue
        bare = row["forward_s"]
        ours = f"{row['observe_s'] / bare:10.2f} {row['repair_s'] / bare:9.1f}" if "observe_s" in row else f"{'-':>10} {'-':>9}"
        agreement = f"{100 * row['agreement']:6.2f}%" if row["agreement"] is not None else "      -"
        print(
            f"{row['side']:12} {row['sqnr_db']:8.2f} {agreement} {row['p50_ms']:8.3f} {row['fp32_p50_ms'] / row['p50_ms']:7.2f} "
            f"{ours} {row['seconds'] / bare:7.1f} {row['peak_mb']:8.0f}"
        )
    for row in found.get("memory", []):
        said = (
            row.get("absent")
            or f"{row['samples']} samples, {row['seconds']:.1f} s, of it repair {row['repair_s']:.1f} s; peak {row['peak_mb']:.0f} MB"
        )
        print(f"memory {row['side']:8} {said}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--evaluation", type=Path)
    parser.add_argument("--part", action="append", choices=PARTS, help="Default: all of them.")
    parser.add_argument("--peers", default=sys.executable, help="A Python that has the other tools.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side == "observe":
        print(json.dumps(observe_side(asked.model, asked.folder)))
    elif asked.side in MEMORY_SIDES:
        print(json.dumps(memory_side(asked.side, asked.model, asked.folder, asked.out)))
    elif asked.side:
        print(json.dumps(calibrate_side(asked.side, asked.model, asked.folder, asked.out)))
    else:
        asked.part = asked.part or list(PARTS)
        if asked.calibration is None or ("files" in asked.part and asked.evaluation is None):
            parser.error("give --calibration, and --evaluation for the part files")
        with tempfile.TemporaryDirectory() as folder:
            found = run(asked, Path(folder))
        print(json.dumps(found)) if asked.json else show(found)


if __name__ == "__main__":
    main()
