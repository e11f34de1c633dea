"""What compression costs and keeps: the naive way, ours without repair and ours with it, on the same data; the codec beside INT8 + zstd; a big net.

    python benchmarks/compression.py --data ../shared/data [--model NAME …] [--part structure|codec|large …] [--json]

Naive: plain SVD of every layer at one ratio; channels of least L1 norm removed, nothing re-solved. Ours: `factorize` and `prune_channels` at the
same MACs. Fidelity is measured on the evaluation set, which nothing was fitted to. Time is the median of interleaved runs, one thread.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from edgewright.calibration.calibrate import CalibrationOptions, calibrate
from edgewright.calibration.normalize import normalized_model
from edgewright.compression.activations import Engine, stream
from edgewright.compression.base import Context
from edgewright.compression.codec.container import decode_model, encode_model, serialized
from edgewright.compression.codec.tensors import pack
from edgewright.compression.coupling import couple
from edgewright.compression.fidelity import logit_tensors
from edgewright.compression.forms._base import form_macs
from edgewright.compression.forms.lowrank import FORM as LOW_RANK
from edgewright.compression.moments import Normal
from edgewright.compression.network import Network
from edgewright.compression.recipe import make_step
from edgewright.compression.repair.rebuild import matrix_of
from edgewright.compression.samples import Samples, read_samples
from edgewright.compression.surgery import cut_channels, replace_layer
from edgewright.compression.timing import RuntimeStopwatch
from edgewright.core.card import card_beside
from edgewright.core.dataset import open_dataset
from edgewright.engines.model import input_specs
from edgewright.pipeline.compress import race
from onnx import TensorProto, helper, numpy_helper

SETS = {
    "squeezenet1.1": ("imagenet-calibration", "imagenet500"),
    "mobilenet_v2": ("imagenet-calibration", "imagenet500"),
    "cifar10_resnet20": ("arrays/cifar10-calibration.npz", "arrays/cifar10-evaluation.npz"),
    "kws_dscnn": ("arrays/kws-calibration.npz", "arrays/kws-evaluation.npz"),
}
RATIOS = {"squeezenet1.1": 8.0, "mobilenet_v2": 6.5, "cifar10_resnet20": 11.2}
EVALUATED = 2500


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


@dataclass(frozen=True)
class Subject:
    """A model with its samples; the original's logits on the evaluation set are recorded once."""

    name: str
    path: Path
    network: Network
    calibration: Samples
    evaluation: Samples
    labels: np.ndarray
    logits: np.ndarray

    def fidelity(self, model: Any) -> dict[str, float]:
        own, other = self.logits, logits_of(model, self.evaluation)
        labels = self.labels[: len(own)]
        return {
            "agreement": float((own.argmax(1) == other.argmax(1)).mean()),
            "top1": float((other.argmax(1) == labels).mean()),
            "top1_fp32": float((own.argmax(1) == labels).mean()),
            "sqnr_db": 10 * math.log10(float(np.square(own).sum()) / max(float(np.square(own - other).sum()), 1e-30)),
        }


def logits_of(model: Any, samples: Samples) -> np.ndarray:
    name = logit_tensors(model)[0]
    parts = [values[name][: batch.count] for batch, values in zip(samples.batches, stream(model, [name], samples, Engine()), strict=True)]
    return np.concatenate(parts).reshape(samples.count, -1).astype(np.float64)


def load(name: str, data: Path) -> Subject:
    path = data / "models" / f"{name}.onnx"
    fold = make_step("fold", {})
    network = Network(normalized_model(path).model)
    network = Network(fold.work.call(network, fold.options, context(None, repair=False)).model)
    specs, card = input_specs(network.model), card_beside(path)
    calibration = read_samples(open_dataset(data / SETS[name][0], card, specs), network.model)
    evaluation_set = open_dataset(data / SETS[name][1], card, specs)
    evaluation = read_samples(evaluation_set, network.model, EVALUATED)
    assert evaluation_set.labels is not None
    return Subject(name, path, network, calibration, evaluation, evaluation_set.labels, logits_of(network.model, evaluation))


def context(samples: Samples | None, *, repair: bool, timed: bool = False) -> Context:
    return Context(samples, Engine(), is_classifier=True, repair=repair, stopwatch=RuntimeStopwatch() if timed else None, progress=lambda *_: None)


# --- structure --------------------------------------------------------------------------------------------------------------------------


def naive_factorized(network: Network, ratio: float) -> Any:
    """Every layer at the same ratio, by the SVD of its weights alone."""
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    for layer in network.layers:
        if LOW_RANK.refusal(layer) is not None or layer.geometry.channels_in <= 3:
            continue
        ranks = [rank for rank in LOW_RANK.ranks(layer, 1) if form_macs(LOW_RANK, layer, rank) <= ratio * layer.macs]
        if not ranks:
            continue
        weight = matrix_of(network, layer)
        width = weight.shape[2]
        white = Normal(np.zeros((1, width)), np.zeros((1, 0)), np.eye(width)[None], np.zeros((1, width, 0)), np.zeros((1, 0)), 1)
        fitted = next(LOW_RANK.fit(layer, [ranks[-1]], Normal.of_weights(white, weight), weight))
        bias = network.bias(layer)
        replace_layer(model, layer, fitted.pieces, None if bias is None else bias.astype(np.float64))
    return model


def naive_pruned(network: Network, ratio: float) -> Any:
    """Of every group the same share of channels, those of least L1 norm; nothing is re-solved."""
    coupling = couple(network)
    rows = {layer.name: np.abs(network.weight(layer)).reshape(layer.geometry.channels_out, -1).sum(1) for layer in network.layers}
    for share in np.linspace(0.02, 0.9, 45):
        removed: set[int] = set()
        for group in coupling.groups:
            norms = dict.fromkeys(group.bundles, 0.0)
            for name in group.makers:
                for bundle, norm in zip(coupling.ids[network.layer(name).output], rows[name], strict=True):
                    norms[int(bundle)] += float(norm)
            removed.update(sorted(group.bundles, key=norms.__getitem__)[: int(share * len(group.bundles))])
        model = cut_channels(network, coupling.kept(frozenset(removed)), {})
        if Network(model).macs <= ratio * network.macs:
            return model
    raise RuntimeError("the ratio cannot be reached")


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


def codec(subject: Subject, data: Path) -> list[Row]:
    original = subject.path.stat().st_size
    rows = [int8_row(subject, data)]
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


def int8_row(subject: Subject, data: Path) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        card = card_beside(subject.path)
        samples = open_dataset(data / SETS[subject.name][0], card, input_specs(normalized_model(subject.path).model))
        made = calibrate(subject.path, samples, Path(folder), CalibrationOptions(), progress=lambda *_: None, cancel=lambda: False)
        model = onnx.load(str(made.onnxruntime))
        size = len(pack(made.onnxruntime.read_bytes()))
    return Row(subject.name, "INT8 + zstd -19", times_smaller=subject.path.stat().st_size / size, **subject.fidelity(model))


# --- a large network --------------------------------------------------------------------------------------------------------------------


def resnet50(seed: int = 0) -> Any:
    """ResNet-50's shape with random weights of a decaying spectrum; batch norms are folded."""
    rng = np.random.default_rng(seed)
    nodes: list[Any] = []
    constants: list[Any] = []

    def conv(source: str, name: str, into: int, out: int, kernel: int, stride: int = 1, *, relu: bool = True) -> str:
        weight = rng.standard_normal((out, into, kernel, kernel)) * (0.995 ** np.arange(into))[None, :, None, None]
        weight *= math.sqrt(1.6 / np.square(weight).sum((1, 2, 3)).mean())
        constants.append(numpy_helper.from_array(weight.astype(np.float32), f"{name}.w"))
        constants.append(numpy_helper.from_array((0.05 * rng.standard_normal(out)).astype(np.float32), f"{name}.b"))
        pads, steps = [kernel // 2] * 4, [stride, stride]
        nodes.append(helper.make_node("Conv", [source, f"{name}.w", f"{name}.b"], [f"{name}.y"], name, pads=pads, strides=steps))
        if not relu:
            return f"{name}.y"
        nodes.append(helper.make_node("Relu", [f"{name}.y"], [f"{name}.r"], f"{name}.relu"))
        return f"{name}.r"

    x = conv("x", "stem", 3, 64, 7, 2)
    nodes.append(helper.make_node("MaxPool", [x], ["pool"], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]))
    x, into = "pool", 64
    for stage, (width, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)]):
        for block in range(blocks):
            name, stride = f"s{stage}b{block}", 2 if stage and not block else 1
            y = conv(x, f"{name}.1", into, width, 1)
            y = conv(y, f"{name}.2", width, width, 3, stride)
            y = conv(y, f"{name}.3", width, 4 * width, 1, relu=False)
            short = conv(x, f"{name}.0", into, 4 * width, 1, stride, relu=False) if not block else x
            nodes.append(helper.make_node("Add", [y, short], [f"{name}.s"], f"{name}.add"))
            nodes.append(helper.make_node("Relu", [f"{name}.s"], [f"{name}.o"], f"{name}.out"))
            x, into = f"{name}.o", 4 * width
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["gap"], "gap"))
    nodes.append(helper.make_node("Flatten", ["gap"], ["flat"], "flat"))
    constants.append(numpy_helper.from_array((rng.standard_normal((1000, 2048)) / 45).astype(np.float32), "fc.w"))
    constants.append(numpy_helper.from_array(np.zeros(1000, np.float32), "fc.b"))
    nodes.append(helper.make_node("Gemm", ["flat", "fc.w", "fc.b"], ["logits"], "fc", transB=1))
    graph = helper.make_graph(
        nodes,
        "resnet50",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 224, 224])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1000])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
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
    parser.add_argument("--model", action="append", choices=sorted(SETS), help="default: all")
    parser.add_argument("--part", action="append", choices=["structure", "codec", "large"], help="default: all")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    parts = options.part or ["structure", "codec", "large"]
    rows: list[Row] = []
    # The large network first: the peak of memory is of the whole process.
    if "large" in parts:
        rows += large()
    for name in options.model or ["cifar10_resnet20", "squeezenet1.1", "mobilenet_v2", "kws_dscnn"] if {"structure", "codec"} & set(parts) else []:
        subject = load(name, options.data)
        rows += structure(subject) if "structure" in parts else []
        rows += codec(subject, options.data) if "codec" in parts and name in RATIOS else []
        print(f"{name} done", file=sys.stderr)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        show(rows)


if __name__ == "__main__":
    main()
