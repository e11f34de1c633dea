"""Measured values: strict when read back, and None stays None."""

from __future__ import annotations

import msgspec
import pytest
from edgewright.core.measurement import Candidate, Conditions, Energy, Fidelity, Latency, OutputFidelity

CANDIDATE = Candidate(
    name="int8",
    backend="onnxruntime",
    path="model.onnx",
    size_bytes=1234,
    latency_ms=Latency(mean=1.5, p50=1.4, p90=1.9, p99=None, samples=50),
    energy_mj=Energy(mean=3.0, ci95=(2.5, 3.5), source="ina3221", power_mw=2000.0),
    fidelity=Fidelity(top1_fp32=0.9, top1=None, agreement=0.97, sqnr_db=21.5, samples=500, outputs={"logits": OutputFidelity(sqnr_db=21.5)}),
    conditions=Conditions(board="x", temperatures_c={"cpu": 51.5}, notes=("a", "b")),
)


def test_a_candidate_survives_the_way_through_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(CANDIDATE), type=Candidate) == CANDIDATE


def test_what_was_not_measured_stays_null_on_the_wire() -> None:
    table = msgspec.json.decode(msgspec.json.encode(CANDIDATE))

    assert (table["latency_ms"]["p99"], table["fidelity"]["top1"], table["build_s"]) == (None, None, None)


@pytest.mark.parametrize("change", [{"size_bytes": "12"}, {"latency_ms": {"mean": 1.0}}, {"colour": "red"}, {"name": None}])
def test_a_value_of_another_type_or_an_unknown_field_is_refused(change: dict[str, object]) -> None:
    table = msgspec.json.decode(msgspec.json.encode(CANDIDATE)) | change

    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(table, Candidate, strict=True)


def test_a_measurement_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        CANDIDATE.size_bytes = 1  # type: ignore[misc]
