"""Which engines are tried for a model on this device, from the fastest hope to the safest fallback. Pure.

    INT8 → mixed → FP16 → FP32 on the accelerator → ONNX Runtime

Every rung that can be built is measured; `choose` decides by the numbers. A rung that is not tried has a reason, which is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..engines.base import Capabilities
from ..engines.fingerprint import Precision

Source = Literal["model", "onnxruntime-qdq", "tensorrt-qdq", "tensorrt-fp16", "tensorrt-mixed", "calibration-cache"]
FALLBACK = "onnxruntime"


@dataclass(frozen=True, slots=True)
class Rung:
    """One engine to try: what is built, from which file, with which options."""

    name: str
    backend: str
    precision: Precision
    source: Source


@dataclass(frozen=True, slots=True)
class Ladder:
    """What to try, the most faithful first, and why the rest is not tried."""

    rungs: tuple[Rung, ...]
    notes: tuple[str, ...] = ()


def ladder(backend: str, capabilities: Capabilities, sources: frozenset[Source], *, with_int8: bool, with_fallback: bool) -> Ladder:
    """The rungs of `backend`; `sources` are the files that exist, `with_fallback` adds ONNX Runtime below an accelerator."""
    if backend == FALLBACK:
        return _offered(_wanted(_onnxruntime(""), with_int8), sources)
    all_rungs = _strongly_typed(backend) if capabilities.is_strongly_typed else _flagged(backend, sources)
    wanted = _wanted(all_rungs, with_int8)
    possible = [rung for rung in wanted if rung.precision in capabilities.precisions]
    notes = [f"{rung.name}: {backend} has no {rung.precision} on this device" for rung in wanted if rung not in possible]
    fallback = _wanted(_onnxruntime(f"{FALLBACK}-"), with_int8) if with_fallback else ()
    exact = [rung for rung in (*possible, *fallback) if rung.precision == "fp32"]
    found = _offered((*exact, *(rung for rung in (*possible, *fallback) if rung.precision != "fp32")), sources)
    return Ladder(found.rungs, (*notes, *found.notes))


def _wanted(rungs: Sequence[Rung], with_int8: bool) -> tuple[Rung, ...]:
    return tuple(rung for rung in rungs if with_int8 or rung.precision not in {"int8", "mixed"})


def _onnxruntime(prefix: str) -> tuple[Rung, ...]:
    return (Rung(f"{prefix}fp32", FALLBACK, "fp32", "model"), Rung(f"{prefix}int8", FALLBACK, "int8", "onnxruntime-qdq"))


def _flagged(backend: str, sources: frozenset[Source]) -> tuple[Rung, ...]:
    """FP16 by the model's own types where there is such a file, else by a builder flag; INT8 from Q/DQ where there is such a file, else from
    the calibration cache; what INT8 leaves in float is half precision in the mixed one as in FP16.
    """
    half: Source = "tensorrt-fp16" if "tensorrt-fp16" in sources else "model"
    quantised: Source = "tensorrt-qdq" if "tensorrt-qdq" in sources else "calibration-cache"
    mixed: Source = "tensorrt-mixed" if "tensorrt-mixed" in sources and quantised == "tensorrt-qdq" else quantised
    return (
        Rung("fp32", backend, "fp32", "model"),
        Rung("fp16", backend, "fp16", half),
        Rung("mixed", backend, "mixed", mixed),
        Rung("int8", backend, "int8", quantised),
    )


def _strongly_typed(backend: str) -> tuple[Rung, ...]:
    """Precision by the model's own types: each rung is a file of its own; what INT8 leaves in float is half precision in the mixed one."""
    return (
        Rung("fp32", backend, "fp32", "model"),
        Rung("fp16", backend, "fp16", "tensorrt-fp16"),
        Rung("mixed", backend, "mixed", "tensorrt-mixed"),
        Rung("int8", backend, "int8", "tensorrt-qdq"),
    )


_MISSING: dict[Source, str] = {
    "onnxruntime-qdq": "the model was not calibrated",
    "tensorrt-qdq": "calibration wrote no Q/DQ model for TensorRT",
    "calibration-cache": "calibration wrote no calibration cache",
    "tensorrt-fp16": "there is no FP16 file of the model",
    "tensorrt-mixed": "there is no Q/DQ model in half precision",
}


def _offered(rungs: Sequence[Rung], sources: frozenset[Source]) -> Ladder:
    notes = tuple(f"{rung.name} was not tried: {_MISSING[rung.source]}" for rung in rungs if rung.source not in sources)
    return Ladder(tuple(rung for rung in rungs if rung.source in sources), notes)
