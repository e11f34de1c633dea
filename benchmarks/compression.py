"""What compression costs and keeps: the naive way, ours without repair and ours with it, on the same data; the codec beside INT8 + zstd; a big net.

    python benchmarks/compression.py --data ../shared/data [--model NAME …] [--part structure|codec|passes|large …] [--json]

Naive: plain SVD of every layer at one ratio; channels of least L1 norm removed, nothing re-solved. Ours: `factorize` and `prune_channels` at the
same MACs. Fidelity is measured on the evaluation set, which nothing was fitted to. Time is the median of interleaved runs, one thread.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from compression_subjects import FURTHER, SETS, Subject, context, files_of, load
from edgewright.calibration.calibrate import CalibrationOptions, calibrate
from edgewright.calibration.normalize import normalized_model
from edgewright.compression.activations import Engine
from edgewright.compression.base import Context
from edgewright.compression.codec.container import decode_model, encode_model, serialized
from edgewright.compression.codec.tensors import pack
from edgewright.compression.fidelity import record_reference
from edgewright.compression.network import Network
from edgewright.compression.recipe import make_step
from edgewright.compression.samples import Samples, read_samples
from edgewright.compression.timing import RuntimeStopwatch
from edgewright.core.card import card_beside
from edgewright.core.dataset import open_dataset
from edgewright.core.errors import Rejected
from edgewright.engines.model import input_specs
from edgewright.pipeline.compress import race
from naive_compression import naive_factorized, naive_pruned
from procfs import peak_rss_mb
from resnet50 import resnet50

RATIOS = {"squeezenet1.1": 8.0, "mobilenet_v2": 6.5, "cifar10_resnet20": 11.2}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    model: str
    what: str
    macs: float | None = None
    time: float | None = None
    times_smaller: float | None = None
    agreement: float | None = None
    top1: float | None = None
    top1_fp32: float | None = None
    sqnr_db: float | None = None
    seconds: float | None = None
    note: str = ""


# --- structure --------------------------------------------------------------------------------------------------------------------------


def structure(subject: Subject) -> list[Row]:
    network = subject.network
    rows = []
    naive: list[tuple[str, Callable[[Network, float], Any], str, float]] = [
        ("SVD", naive_factorized, "factorize", 0.8),
        ("L1 channels", naive_pruned, "prune_channels", 0.7),
    ]
    for word, make, name, ratio in naive:
        try:
            rows.append(structure_row(subject, f"naive {word}", make(network, ratio), None))
        except (RuntimeError, ValueError) as error:
            rows.append(Row(subject.name, f"naive {word}", note=str(error)))
        rows += ours(subject, name, {"macs_ratio": ratio})
    rows += ours(subject, "depthwise_separable", {"macs_ratio": 0.8})
    return rows


def ours(subject: Subject, name: str, fields: dict[str, Any]) -> list[Row]:
    step = make_step(name, fields)
    started = time.monotonic()
    try:
        result = step.work.call(subject.network, step.options, context(subject.calibration, repair=True, timed=True))
    except Exception as error:  # a refusal is a result too
        return [Row(subject.name, f"ours {name}", note=f"refused: {error}")]
    seconds = time.monotonic() - started
    if not result.modified:
        return [Row(subject.name, f"ours {name}", note="; ".join(result.notes))]
    return [
        structure_row(subject, f"ours {name}, no repair", result.unrepaired, None),
        structure_row(subject, f"ours {name}", result.model, seconds),
    ]


def structure_row(subject: Subject, what: str, model: Any, seconds: float | None) -> Row:
    before, after = race(subject.network.model, model, 1, lambda: False)
    macs = Network(model).macs / subject.network.macs
    return Row(subject.name, what, macs, (after.p50 or after.mean) / (before.p50 or before.mean), seconds=seconds, **subject.fidelity(model))


# --- codec ------------------------------------------------------------------------------------------------------------------------------


def codec(subject: Subject) -> list[Row]:
    original = subject.path.stat().st_size
    rows = [int8_row(subject)]
    coded = encode_model(subject.network.model)
    rows.append(Row(subject.name, "codec, FP32 lossless", times_smaller=original / len(coded), **subject.fidelity(decode_model(coded))))
    step = make_step("share_weights", {"ratio": RATIOS.get(subject.name, 8.0)})
    started = time.monotonic()
    result = step.work.call(subject.network, step.options, context(subject.calibration, repair=True))
    seconds = time.monotonic() - started
    coded = encode_model(result.model)
    spent = []
    for _ in range(5):
        started = time.monotonic()
        decoded = decode_model(coded)
        spent.append(time.monotonic() - started)
    speed = original / 1e6 / sorted(spent)[2]
    assert serialized(decoded) == serialized(result.model)
    note = f"{len(coded)} bytes, decoded at {speed:.0f} MB/s of model"
    rows.append(Row(subject.name, "shared weights", times_smaller=original / len(coded), seconds=seconds, note=note, **subject.fidelity(decoded)))
    return rows


# --- every pass -------------------------------------------------------------------------------------------------------------------------

PASSES = {
    "fold": {},
    "factorize": {"macs_ratio": 0.9},
    "depthwise_separable": {"macs_ratio": 0.95},
    "prune_channels": {"macs_ratio": 0.9},
    "fold_channels": {"macs_ratio": 0.95},
    "share_weights": {"ratio": 5.0},
    "sparsify_2_4": {},
}


def every_pass(name: str, data: Path, folder: Path) -> list[Row]:
    """Each pass on the model `name`, fitted to 32 samples: what is left of its outputs on others, or why it refuses."""
    path, sets = files_of(name, data, folder)
    normalized = Network(normalized_model(path).model)
    fold = make_step("fold", {})
    network = Network(fold.work.call(normalized, fold.options, context(None, repair=False)).model)
    card = card_beside(path)
    samples = read_samples(open_dataset(sets[0], card, input_specs(network.model)), network.model, 64)
    fitted = samples.first(32)
    unseen = Samples(samples.batches[len(fitted.batches) :], samples.count - fitted.count, samples.offered)
    reference = record_reference(network, unseen, Engine(), is_classifier=False)
    rows = []
    for pass_name, fields in PASSES.items():
        step = make_step(pass_name, fields)
        started = time.monotonic()
        try:
            working = Context(fitted, Engine(), card.task.kind == "classification", repair=True, stopwatch=None, progress=lambda *_: None)
            result = step.work.call(network, step.options, working)
        except Rejected as error:
            rows.append(Row(name, pass_name, note=f"refused: {error.message}"))
            continue
        if not result.modified:
            rows.append(Row(name, pass_name, note=f"nothing to do: {'; '.join(result.notes)}"))
            continue
        sqnr_db = -10 * math.log10(max(reference.damage(result.model, Engine()), 1e-15))
        agreement = reference.agreement(result.model, Engine()) if card.task.kind == "classification" else None
        macs = Network(result.model).macs / network.macs
        rows.append(Row(name, pass_name, macs, agreement=agreement, sqnr_db=sqnr_db, seconds=time.monotonic() - started))
    return rows


def int8_row(subject: Subject) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        card = card_beside(subject.path)
        samples = open_dataset(subject.samples, card, input_specs(normalized_model(subject.path).model))
        made = calibrate(subject.path, samples, Path(folder), CalibrationOptions(), progress=lambda *_: None, cancel=lambda: False)
        model = onnx.load(str(made.onnxruntime))
        size = len(pack(made.onnxruntime.read_bytes()))
    return Row(subject.name, "INT8 + zstd -19", times_smaller=subject.path.stat().st_size / size, **subject.fidelity(model))


# --- a large network --------------------------------------------------------------------------------------------------------------------


def large(samples: int = 32) -> list[Row]:
    """Factorise, prune, repair and INT8 of a ResNet-50-shaped network: time and memory."""
    from edgewright.compression.recipe import Recipe
    from edgewright.compression.runner import Settings, compress
    from edgewright.core.card import ModelCard

    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "resnet50.onnx"
        path.write_bytes(serialized(resnet50()))
        rng = np.random.default_rng(1)
        coarse = rng.standard_normal((samples, 3, 28, 28)).astype(np.float32)
        np.savez(folder / "samples.npz", x=np.repeat(np.repeat(coarse, 8, 2), 8, 3))
        dataset = open_dataset(folder / "samples.npz", ModelCard(), input_specs(onnx.load(str(path))))
        steps = (make_step("fold", {}), make_step("prune_channels", {"macs_ratio": 0.9}), make_step("factorize", {"macs_ratio": 0.85}))
        recipe = Recipe("large", steps, quantizes=True)
        settings = Settings(stopwatch=RuntimeStopwatch(), race=lambda a, b: race(a, b, 1, lambda: False))
        made = compress(path, recipe, dataset, settings, is_classifier=True, progress=lambda *_: None, cancel=lambda: False)
        smaller = folder / "smaller.onnx"
        smaller.write_bytes(serialized(made.model))
        (folder / "int8").mkdir()
        calibrate(smaller, dataset, folder / "int8", CalibrationOptions(), progress=lambda *_: None, cancel=lambda: False)
    seconds = time.monotonic() - started
    peak = peak_rss_mb(os.getpid())
    outcomes = ", ".join(f"{report.name} {report.outcome} in {report.seconds:.0f} s" for report in made.passes)
    macs = Network(made.model).macs / made.original.macs
    return [Row("resnet50 (random)", "prune, factorise, repair, INT8", macs, seconds=seconds, note=f"peak {peak:.0f} MB; {outcomes}")]


# --- the table --------------------------------------------------------------------------------------------------------------------------


def show(rows: Sequence[Row]) -> None:
    heads = ("model", "what", "MACs", "time", "smaller", "agreement", "top-1", "FP32", "SQNR", "seconds", "")
    print(" | ".join(heads))
    for row in rows:
        cells = [
            row.model,
            row.what,
            "" if row.macs is None else f"{row.macs:.2f}",
            "" if row.time is None else f"{row.time:.2f}",
            "" if row.times_smaller is None else f"{row.times_smaller:.2f} ×",
            "" if row.agreement is None else f"{100 * row.agreement:.1f} %",
            "" if row.top1 is None else f"{100 * row.top1:.1f} %",
            "" if row.top1_fp32 is None else f"{100 * row.top1_fp32:.1f} %",
            "" if row.sqnr_db is None else f"{row.sqnr_db:.1f} dB",
            "" if row.seconds is None else f"{row.seconds:.0f}",
            row.note,
        ]
        print(" | ".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with models, images and arrays")
    parser.add_argument("--model", action="append", choices=sorted(SETS | FURTHER), help="default: all")
    parser.add_argument("--part", action="append", choices=["structure", "codec", "passes", "large"], help="default: all")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    parts = options.part or ["structure", "codec", "passes", "large"]
    rows: list[Row] = []
    # The large network first: the peak of memory is of the whole process.
    if "large" in parts:
        rows += large()
    for name in (options.model or [*SETS, *FURTHER]) if {"structure", "codec", "passes"} & set(parts) else []:
        with tempfile.TemporaryDirectory() as folder:
            rows += every_pass(name, options.data, Path(folder)) if "passes" in parts else []
            if name in SETS and {"structure", "codec"} & set(parts):
                subject = load(name, options.data, Path(folder))
                rows += structure(subject) if "structure" in parts else []
                rows += codec(subject) if "codec" in parts and name in RATIOS else []
        print(f"{name} done", file=sys.stderr)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        show(rows)


if __name__ == "__main__":
    main()
