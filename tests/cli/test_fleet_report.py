from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from edgewright.cli import fleet_report
from edgewright.cli.fleet_report import REPORT_COLUMNS, ago, print_report, printable, report_rows
from edgewright.controller.reports import DeploymentView, TargetView
from edgewright.core.errors import Reason
from edgewright.core.measurement import Candidate, Energy, Fidelity, Latency
from edgewright.core.wire.messages import Measurement

LATENCY = Latency(mean=1.5, p50=1.25, p90=2.0, p99=2.5, samples=500, throughput_per_s=666.7)
FIDELITY = Fidelity(top1_fp32=0.971, top1=0.968, agreement=0.99, sqnr_db=33.66, samples=128)


def candidate(name: str, **fields: Any) -> Candidate:
    return Candidate(
        name=name,
        backend="onnxruntime",
        path="model.onnx",
        size_bytes=1_170_000,
        latency_ms=LATENCY,
        fidelity=FIDELITY,
        **({"energy_mj": None} | fields),
    )


def target(**fields: Any) -> TargetView:
    empty = {"device": "board-1", "state": None, "attempt": 0, "updated_s": None, "reason": None, "measurement": None}
    return TargetView(**(empty | fields))


def test_fp32_stands_beside_the_chosen_engine() -> None:
    energy = Energy(mean=12.345, ci95=(12.0, 12.7), source="ina3221", power_mw=8230.4)
    measurement = Measurement(chosen=candidate("int8", energy_mj=energy), baseline=candidate("fp32"), verdict=None)

    assert report_rows(target(measurement=measurement)) == [
        ["board-1", "fp32", "1.17 MB", "96.8 %", "–", "–", "1.250", "2.500", "667", "–", "–"],
        ["board-1", "int8", "1.17 MB", "96.8 %", "99.0 %", "33.7 dB", "1.250", "2.500", "667", "8230", "12.35"],
    ]
    assert {len(row) for row in report_rows(target(measurement=measurement))} == {len(REPORT_COLUMNS)}


def test_an_engine_that_is_its_own_reference_stands_once() -> None:
    measurement = Measurement(chosen=candidate("fp32"), baseline=candidate("fp32"), verdict=None)

    assert len(report_rows(target(measurement=measurement))) == 1


def test_what_was_not_measured_has_no_row() -> None:
    assert report_rows(target()) == []
    assert report_rows(target(measurement=Measurement(chosen=None, baseline=None, verdict=None))) == []


def test_a_report_says_each_device_s_state_and_why_there_is_no_energy(capsys: pytest.CaptureFixture[str]) -> None:
    why = Reason("budget", "p99 is above", "Allow more", "rejected")
    measurement = Measurement(chosen=None, baseline=candidate("fp32", energy_reason="no sensor"), verdict=None)
    devices = (target(state="REJECTED", reason=why, measurement=measurement), target(device="board-2"))
    print_report(DeploymentView(deployment="d", model="m", version="1", created_s=1.0, devices=devices))
    lines = capsys.readouterr().out.splitlines()

    assert lines[:2] == ["board-1  REJECTED: p99 is above. Allow more", "board-2  not heard of yet"]
    assert lines[-1] == "energy: no sensor"
    assert any(line.split() == REPORT_COLUMNS_WORDS for line in lines)


REPORT_COLUMNS_WORDS = " ".join(REPORT_COLUMNS).split()


@pytest.mark.parametrize(
    ("past_s", "words"), [(0, "0 s ago"), (119, "119 s ago"), (121, "2 min ago"), (7100, "118 min ago"), (7300, "2 h ago"), (-50, "0 s ago")]
)
def test_a_time_is_told_in_words(past_s: float, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_report, "time", SimpleNamespace(time=lambda: 1_800_000_000.0))

    assert ago(1_800_000_000.0 - past_s) == words


def test_what_was_never_seen_is_told_so() -> None:
    assert ago(None) == "never"


def test_what_would_steer_a_terminal_is_replaced_and_the_rest_stays() -> None:
    assert printable("Ärger\x1b[31m – 100 %\x00\n") == "Ärger�[31m – 100 %��"
