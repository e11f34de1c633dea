"""A profile is one run's latency, energy and trace."""

from __future__ import annotations

import msgspec
import pytest
from edgewright.core.profile import Profile, ProfileOrder
from edgewright.core.trace import unpack_trace
from edgewright.pipeline.child import Limits, run_child
from edgewright.pipeline.profile import profile, profile_call
from edgewright.pipeline.request import ProfileRequest
from edgewright.profiling.conditions import Workload


def quiet(_share, _note):
    return None


@pytest.fixture
def board(load_fake, tmp_path):
    """A board whose one rail stands at 5 W, without averaging."""
    boards = load_fake("power_boards")
    boards.device_tree(tmp_path, "nvidia,p3768-0000+p3767-0005", "nvidia,tegra234", model="Orin")
    boards.hwmon_ina3221(tmp_path, "1-0040", 1, [("VDD_IN", 5000, 1000), None, None], samples=1)
    return tmp_path


@pytest.mark.parametrize("scenario", ["single-stream", "multi-stream", "offline", "open-loop"])
def test_power_and_performance_are_of_the_same_run(board, scenario):
    order = ProfileOrder(scenario=scenario, seconds=0.5, streams=2, rate_per_s=200)

    found = profile_call(lambda: sum(range(500)), order, Workload(provider="p"), board, idle_s=0.05)

    assert found.energy_mj.inferences == pytest.approx(found.throughput_per_s * found.energy_mj.seconds)
    assert found.energy_mj.mean == pytest.approx(5000 / found.throughput_per_s)
    assert found.histogram.count == found.latency_ms.samples
    assert (found.scope, found.conditions.board, found.conditions.sensor) == ("module", "Orin", "ina3221")
    trace = unpack_trace(found.trace)
    assert [window.name for window in trace.windows] == ["idle before", "inference", "idle after"]
    assert trace.windows[1].inferences == found.energy_mj.inferences
    assert set(trace.values_mw[0]) == {5000}


def test_without_a_sensor_the_latency_is_measured_all_the_same(tmp_path):
    found = profile_call(lambda: None, ProfileOrder(seconds=0.1), Workload(), tmp_path)

    assert found.latency_ms.samples > 10
    assert found.energy_mj is None
    assert found.energy_reason
    assert found.trace is None


def test_without_a_model_the_power_of_what_runs_is_read(board):
    found = profile(ProfileRequest(order=ProfileOrder(seconds=0.3), root=str(board)), quiet)

    assert (found.latency_ms, found.energy_mj, found.power_mw, found.scope) == (None, None, 5000, "module")
    assert [(rail.label, rail.mean_mw) for rail in found.rails] == [("VDD_IN", 5000)]
    assert len(unpack_trace(found.trace).times_us) >= 3


def test_a_machine_without_sensors_says_why(tmp_path):
    found = profile(ProfileRequest(order=ProfileOrder(seconds=0.1), root=str(tmp_path)), quiet)

    assert (found.power_mw, found.trace) == (None, None)
    assert "no usable power sensor" in found.energy_reason


def test_a_model_is_profiled_in_a_worker_child(board, tiny_classifier):
    request = ProfileRequest(order=ProfileOrder(seconds=0.2), path=str(tiny_classifier), root=str(board), idle_s=0.05)

    outcome = run_child("profile", msgspec.json.encode(request), Limits(time_s=60))

    assert outcome.reason is None
    found = msgspec.json.decode(outcome.result, type=Profile)
    assert found.conditions.provider == "CPUExecutionProvider"
    assert found.energy_mj.inferences > 0
