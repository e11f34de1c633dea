from __future__ import annotations

from edgewright.controller.comparison import _Row, compare, front
from edgewright.core.measurement import Candidate
from edgewright.core.wire.messages import Measurement, Rival


def row(hardware_class, p50_ms, fp32_ms, candidate="int8"):
    figures = {"size_bytes": 1, "latency_p99_ms": None, "energy_mj": None, "top1": None, "agreement": 0.9, "sqnr_db": 20.0}
    fp32 = {"fp32_size_bytes": 4, "fp32_latency_p50_ms": fp32_ms, "fp32_latency_p99_ms": None, "fp32_energy_mj": None, "fp32_top1": None}
    return _Row(hardware_class=hardware_class, candidate=candidate, backend="ort", latency_p50_ms=p50_ms, **figures, **fp32)


def measurement(chosen, **engines):
    """Engines by name: (latency, fidelity)."""
    rivals = tuple(Rival(name=name, backend="ort", size_bytes=1, latency_p50_ms=latency, sqnr_db=noise) for name, (latency, noise) in engines.items())
    candidate = Candidate(name=chosen, backend="ort", path="e", size_bytes=1, latency_ms=None, energy_mj=None, fidelity=None)
    return Measurement(chosen=candidate, baseline=None, verdict=None, rivals=rivals)


def test_each_class_has_its_medians_and_fp32_stands_first():
    found = compare([row("a", 1.0, 4.0), row("a", 3.0, 6.0), row("a", 2.0, 5.0), row("b", 9.0, 9.0, "small"), row("b", 8.0, 10.0)])

    assert [(one.hardware_class, one.engine, one.devices, one.latency_p50_ms) for one in found] == [
        ("a", "fp32", 3, 5.0), ("a", "int8", 3, 2.0), ("b", "fp32", 2, 9.5), ("b", "int8", 1, 8.0), ("b", "small", 1, 9.0),
    ]  # fmt: skip


def test_a_device_that_kept_fp32_is_counted_as_fp32_alone():
    assert [(one.engine, one.devices) for one in compare([row("a", 4.0, 4.0, "fp32")])] == [("fp32", 1)]


def test_the_front_holds_what_nothing_else_beats():
    told = [("a", measurement("int8", fp32=(8.0, None), int8=(4.0, 25.0), worse=(5.0, 24.0), small=(3.0, 15.0), slow=(9.0, 60.0)))]

    assert {one.engine: one.is_best for one in front(told)} == {"fp32": True, "int8": True, "worse": False, "small": True, "slow": False}


def test_points_are_medians_and_count_who_chose_them():
    told = [("a", measurement("int8", int8=(latency, 20.0), fp16=(9.0, 50.0))) for latency in (1.0, 2.0, 6.0)]

    assert [(one.engine, one.latency_p50_ms, one.devices, one.chosen_by) for one in front(told)] == [("int8", 2.0, 3, 3), ("fp16", 9.0, 3, 0)]


def test_classes_do_not_beat_each_other():
    told = [("a", measurement("int8", int8=(1.0, 30.0))), ("b", measurement("int8", int8=(5.0, 20.0)))]

    assert [one.is_best for one in front(told)] == [True, True]
