"""INT8 calibration side by side: Edgewright's and onnxruntime's on the same model, samples and runtime, in one process tree.

    python benchmarks/calibration.py MODEL --calibration DATA --evaluation DATA [--json]

Each side quantises in a process of its own, so that peak memory is its own; the FP32 forward pass over the same samples is timed in the same
process, next to it. Then all files run in this process: fidelity on the evaluation samples, latency interleaved, one thread, batch 1.
Other tools are named as absent: only what is installed beside Edgewright is measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgewright.core.dataset import Dataset
from edgewright.engines.base import Tensors
from edgewright.engines.ort.library import onnxruntime_library
from edgewright.pipeline.subject import Subject, open_subject

PEERS = ("nncf", "onnxsim", "aimet_onnx")
OURS = ("auto", "minmax", "mse")
LATENCY_ROUNDS = 150


def forward_seconds(subject: Subject, data: Dataset) -> float:
    """The bare FP32 pass over the samples, without reading them."""
    session = onnxruntime_library().InferenceSession(str(subject.path), providers=["CPUExecutionProvider"])
    total = 0.0
    for batch in data.batches(subject.fixed_batch or 1):
        if batch.size < (subject.fixed_batch or 1):
            break
        started = time.perf_counter()
        session.run(None, batch.feeds)
        total += time.perf_counter() - started
    return total


def quantise(side: str, model: Path, calibration: Path, out: Path) -> dict[str, object]:
    """Run one side here and say what it took; called in a child process."""

    subject = open_subject(model)
    data = subject.dataset(calibration)
    bare_s = forward_seconds(subject, data)
    started = time.perf_counter()
    if side == "onnxruntime":
        path, observe_s = _quantise_onnxruntime(subject, data, out)
    else:
        path, observe_s = _quantise_edgewright(side, subject, data, out)
    seconds = time.perf_counter() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"side": side, "path": str(path), "forward_s": bare_s, "observe_s": observe_s, "seconds": seconds, "peak_mb": peak_mb}


def _quantise_edgewright(method: str, subject: Subject, data: Dataset, out: Path) -> tuple[Path, float]:
    from edgewright.calibration.calibrate import CalibrationOptions, calibrate

    done = calibrate(subject.path, data, out, CalibrationOptions(method=method), progress=lambda *_: None, cancel=lambda: False)
    return done.onnxruntime, done.phases.observe_s


def _quantise_onnxruntime(subject: Subject, data: Dataset, out: Path) -> tuple[Path, float]:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    class Reader:
        def __init__(self) -> None:
            self._batches = iter(data.batches(1))

        def get_next(self) -> Tensors | None:
            batch = next(self._batches, None)
            return None if batch is None else batch.feeds

    path = out / "onnxruntime.onnx"
    started = time.perf_counter()
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(str(subject.path), str(path), Reader(), quant_format=QuantFormat.QDQ, per_channel=True, **kinds)
    return path, time.perf_counter() - started


def compare(model: Path, evaluation: Path, rows: list[dict[str, object]]) -> None:
    """Add fidelity and latency to `rows`."""
    import numpy as np
    from edgewright.engines.backends.onnxruntime import BACKEND
    from edgewright.engines.base import BuildOptions
    from edgewright.engines.fidelity import FidelityMeter

    subject = open_subject(model)
    runners = {"fp32": BACKEND.open(model, BuildOptions())} | {str(row["side"]): BACKEND.open(Path(str(row["path"])), BuildOptions()) for row in rows}
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
        fidelity = meters[str(row["side"])].fidelity("evaluation")
        row |= {"sqnr_db": fidelity.sqnr_db, "agreement": fidelity.agreement, "top1": fidelity.top1, "top1_fp32": fidelity.top1_fp32}
        own = times[str(row["side"])]
        quarters = np.percentile(own, [25, 75])
        row |= {
            "p50_ms": statistics.median(own),
            "p25_ms": float(quarters[0]),
            "p75_ms": float(quarters[1]),
            "fp32_p50_ms": statistics.median(times["fp32"]),
        }
    for runner in runners.values():
        runner.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--evaluation", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        print(json.dumps(quantise(asked.side, asked.model.resolve(), asked.calibration.resolve(), asked.out)))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for side in (*OURS, "onnxruntime"):
            out = Path(folder) / side
            out.mkdir()
            argv = [sys.executable, __file__, str(asked.model), "--calibration", str(asked.calibration), "--evaluation", str(asked.evaluation)]
            ran = subprocess.run([*argv, "--side", side, "--out", str(out)], capture_output=True, text=True, check=True)
            rows.append(json.loads(ran.stdout.splitlines()[-1]))
        compare(asked.model.resolve(), asked.evaluation.resolve(), rows)
    absent = [name for name in PEERS if importlib.util.find_spec(name) is None]
    if asked.json:
        print(json.dumps({"rows": rows, "absent": absent}))
        return
    print(f"{'side':12} {'SQNR dB':>8} {'agree':>7} {'top-1':>7} {'p50 ms':>8} {'x FP32':>7} {'observe x':>10} {'all x':>7} {'peak MB':>8}")
    for row in rows:
        bare = row["forward_s"]
        agreement, top1 = (f"{100 * row[key]:6.1f}%" if row[key] is not None else "      -" for key in ("agreement", "top1"))
        print(
            f"{row['side']:12} {row['sqnr_db']:8.2f} {agreement} {top1} {row['p50_ms']:8.3f} {row['fp32_p50_ms'] / row['p50_ms']:7.2f} "
            f"{row['observe_s'] / bare:10.2f} {row['seconds'] / bare:7.1f} {row['peak_mb']:8.0f}"
        )
    print(f"absent here: {', '.join(absent) or 'none'}")


if __name__ == "__main__":
    main()
