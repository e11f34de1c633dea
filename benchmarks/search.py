"""The search of ``optimize --recipe auto``, held against FP32 and against INT8 alone: Edgewright's and onnxruntime's own.

    python benchmarks/search.py --data DIR [--model NAME …] [--seconds 400] [--json]

DIR has `models/`, and the calibration and evaluation sets that `SETS` names; models with a star are generated (`search_subjects`), with arbitrary
weights and no labels. Every model is optimised from nothing, with a cache of its own
in a temporary folder; then FP32, INT8 alone and what was chosen run in turns, one thread, batch 1. Fidelity is on the evaluation samples, which
steer the search too: a difference of a point on a few hundred of them is chance.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
from edgewright.core.search import SearchReport
from edgewright.engines.base import BuildOptions, Tensors
from edgewright.pipeline.measure import EngineUnderTest, first_feeds, measure_timing
from edgewright.pipeline.optimize import optimize
from edgewright.pipeline.request import OptimizeRequest, OptimizeResult
from edgewright.pipeline.subject import Subject, open_subject
from search_subjects import SUBJECTS, write_subject

SETS = {
    "squeezenet1.1": ("imagenet-calibration", "imagenet500"),
    "mobilenet_v2": ("imagenet-calibration", "imagenet500"),
    "cifar10_resnet20": ("arrays/cifar10-calibration.npz", "arrays/cifar10-evaluation.npz"),
    "kws_dscnn": ("arrays/kws-calibration.npz", "arrays/kws-evaluation.npz"),
}
# Times FP32 that the best INT8-only file of any tool reached on another machine, and what is asked for.
WANTED = {"squeezenet1.1": 2.1, "cifar10_resnet20": 2.1, "mobilenet_v2": 2.0}
MAX_DROP = 0.015
MAX_MEASUREMENTS = 300
MAX_SECONDS = 600.0
RACE_S = 4.0


@dataclass(frozen=True)
class Row:
    """One model. Times are medians in milliseconds."""

    model: str
    seconds: float
    fp32_ms: float
    int8_ms: float
    onnxruntime_int8_ms: float
    chosen_ms: float
    chosen: str
    top1_drop: float | None
    agreement: float | None
    sqnr_db: float | None
    predictions: tuple[float, ...]
    sums: tuple[float, ...]
    predicted_within: float | None
    measurements: int
    plans: float

    @property
    def speed(self) -> float:
        return self.fp32_ms / self.chosen_ms

    @property
    def over_int8(self) -> float:
        """Against the faster of the two INT8-only files."""
        return min(self.int8_ms, self.onnxruntime_int8_ms) / self.chosen_ms

    def marks(self) -> dict[str, bool]:
        found = {
            "not slower than INT8 alone": self.over_int8 >= 0.98,
            "micro-measurements": self.measurements <= MAX_MEASUREMENTS,
            "seconds": self.seconds <= MAX_SECONDS,
            "top-1 drop": self.top1_drop is None or self.top1_drop <= MAX_DROP + 1e-9,
            "predictions": self.predicted_within is None or self.predicted_within >= 0.95,
        }
        if self.model in WANTED:
            found[f"{WANTED[self.model]} times FP32"] = self.speed >= WANTED[self.model]
        return found


def run_model(data: Path, name: str, seconds: float, folder: Path) -> Row:
    out = folder / "out"
    out.mkdir()
    evaluation = None
    if name in SUBJECTS:
        model, calibration = write_subject(name, folder)
    else:
        model, calibration, evaluation = data / "models" / f"{name}.onnx", data / SETS[name][0], str(data / SETS[name][1])
    request = OptimizeRequest(
        model=str(model),
        calibration=str(calibration),
        evaluation=evaluation,
        out=str(out),
        search_s=seconds,
        cache=str(folder / "cache"),
        identity=str(folder / "identity"),
    )
    started = time.monotonic()
    result = optimize(request, progress=show, cancel=lambda: False)
    took = time.monotonic() - started
    subject = open_subject(model)
    peer = quantised_by_onnxruntime(subject, calibration, folder)
    return row_of(name, result, took, subject, calibration, peer)


def row_of(name: str, result: OptimizeResult, seconds: float, subject: Subject, calibration: Path, peer: Path) -> Row:
    chosen = result.chosen
    assert chosen is not None
    int8 = next((candidate for candidate in result.candidates if candidate.name == "int8"), result.baseline)
    paths = {"fp32": subject.path, "int8": Path(int8.path), "onnxruntime": peer, "chosen": Path(chosen.path)}
    engines = {key: EngineUnderTest("onnxruntime", path, BuildOptions()) for key, path in paths.items()}
    feeds = first_feeds(subject.dataset(calibration), 1)
    timed = measure_timing(engines, dict.fromkeys(engines, feeds), seconds=RACE_S, batch=1)
    middle = {key: value.latency_ms.p50 or value.latency_ms.mean for key, value in timed.items()}
    search, fidelity = result.search or SearchReport(plans=1, measured=0, known=0, seconds=0), chosen.fidelity
    errors = tuple(round(error, 4) for point in search.points if (error := point.prediction_error) is not None)
    sums = tuple(round(point.summed_ms / point.latency_ms - 1, 4) for point in search.points if point.summed_ms is not None)
    drop = None if fidelity is None or fidelity.top1 is None else (fidelity.top1_fp32 or 0) - fidelity.top1
    return Row(
        model=name,
        seconds=seconds,
        fp32_ms=middle["fp32"],
        int8_ms=middle["int8"],
        onnxruntime_int8_ms=middle["onnxruntime"],
        chosen_ms=middle["chosen"],
        chosen=chosen.name,
        top1_drop=drop,
        agreement=None if fidelity is None else fidelity.agreement,
        sqnr_db=None if fidelity is None else fidelity.sqnr_db,
        predictions=errors,
        sums=sums,
        predicted_within=search.predicted_within,
        measurements=search.measured,
        plans=search.plans,
    )


def quantised_by_onnxruntime(subject: Subject, calibration: Path, folder: Path) -> Path:
    """MinMax, per channel, u8 × s8: the fastest of onnxruntime's own ways."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    class Reader:
        def __init__(self) -> None:
            self._batches = iter(subject.dataset(calibration).batches(1, stop=32))

        def get_next(self) -> Tensors | None:
            batch = next(self._batches, None)
            return None if batch is None else batch.feeds

    path = folder / "onnxruntime.onnx"
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(str(subject.path), str(path), Reader(), quant_format=QuantFormat.QDQ, per_channel=True, **kinds)
    return path


def words(errors: tuple[float, ...]) -> str:
    return ", ".join(f"{100 * error:+.1f} %" for error in errors) or "none"


def show(share: float, note: str) -> None:
    print(f"\r{100 * share:3.0f} % {note[:100]:100}", end="", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", action="append", choices=sorted([*SETS, *SUBJECTS]))
    parser.add_argument("--seconds", type=float, default=400.0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows = []
    for name in asked.model or [*SETS, *SUBJECTS]:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(run_model(asked.data.resolve(), name, asked.seconds, Path(folder)))
    print(file=sys.stderr)
    if asked.json:
        print(msgspec.json.encode([asdict(row) | {"marks": row.marks()} for row in rows]).decode())
        return
    for row in rows:
        print(
            f"{row.model}: {row.chosen}, {row.speed:.2f} times FP32, {row.over_int8:.2f} times INT8 alone; {row.seconds:.0f} s, {row.plans:.2g} plans"
        )
        print(f"  FP32 {row.fp32_ms:.3f} ms, INT8 {row.int8_ms:.3f}, onnxruntime's INT8 {row.onnxruntime_int8_ms:.3f}, chosen {row.chosen_ms:.3f}")
        print(f"  top-1 drop {row.top1_drop}, agreement {row.agreement}, SQNR {row.sqnr_db}; {row.measurements} micro-measurements")
        print(f"  predictions off by {words(row.predictions)}; sums of single layers by {words(row.sums)}; marks: {json.dumps(row.marks())}")


if __name__ == "__main__":
    main()
