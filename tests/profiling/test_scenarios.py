"""The four scenarios on a simulated clock, where every latency can be worked out."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from edgewright.core.statistics import percentile
from edgewright.profiling.scenarios import Clock, Load, run_scenario, schedule_ns

MS = 1_000_000


class World:
    """Simulated time; a call takes `call_ms`, and the calls in `stalls` take longer."""

    def __init__(self, call_ms=5, stalls=None):
        self.now = 0
        self.calls = 0
        self.call_ms = call_ms
        self.stalls = stalls or {}

    def call(self):
        self.now += self.stalls.get(self.calls, self.call_ms) * MS
        self.calls += 1

    def sleep(self, seconds):
        self.now += max(1000, round(seconds * 1e9))

    @property
    def clock(self):
        return Clock(lambda: self.now, self.sleep)


def test_a_single_stream_asks_again_when_it_is_answered():
    world = World(5)

    found = run_scenario(world.call, Load(seconds=1, warmup_s=0.1), clock=world.clock)

    assert set(found.latencies_ns) == {5 * MS}
    assert found.calls == 200
    assert found.throughput_per_s == pytest.approx(200)


def test_an_open_loop_s_latency_counts_from_the_schedule():
    # Every 10 ms a call of 5 ms; the hundredth takes 500 ms: the calls behind it wait, each 5 ms less than the one before.
    world = World(5, stalls={100: 500})

    found = run_scenario(world.call, Load("open-loop", seconds=2, rate_per_s=100, beat="fixed", warmup_s=0), clock=world.clock)

    latencies = [value / MS for value in found.latencies_ns]
    assert len(latencies) == len(schedule_ns(Load(seconds=2, rate_per_s=100, beat="fixed"))) == 200
    stalled = max(range(200), key=lambda index: latencies[index])
    assert latencies[stalled] == pytest.approx(500, rel=0.01)
    assert latencies[stalled + 1 : stalled + 11] == pytest.approx([495 - 5 * index for index in range(10)], rel=0.01)
    assert found.late == pytest.approx(99, abs=2)


def test_a_stall_moves_p99_of_an_open_loop_as_theory_says_and_that_of_a_closed_loop_not_at_all():
    # A stall of S among calls every T, each of c: the line empties by T - c per call; k calls later the wait is S - k (T - c).
    stall_ms, gap_ms, call_ms, count = 800, 10, 2, 2000
    world = World(call_ms, stalls={700: stall_ms})
    found = run_scenario(world.call, Load("open-loop", seconds=20, rate_per_s=100, beat="fixed", warmup_s=0), clock=world.clock)
    expected = stall_ms - (count // 100) * (gap_ms - call_ms)

    closed = World(call_ms, stalls={700: stall_ms})
    blind = run_scenario(closed.call, Load(seconds=5, warmup_s=0), clock=closed.clock)

    assert percentile(sorted(found.latencies_ns), 99) / MS == pytest.approx(expected, rel=0.02)
    assert percentile(sorted(blind.latencies_ns), 99) / MS == pytest.approx(call_ms)


def test_a_poisson_schedule_has_its_rate_and_exponential_gaps():
    due = np.array(schedule_ns(Load("open-loop", seconds=100, rate_per_s=50, seed=3)))

    gaps = np.diff(due) / 1e9
    assert len(due) == pytest.approx(5000, abs=4 * 5000**0.5)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.06)
    assert list(due) == schedule_ns(Load("open-loop", seconds=100, rate_per_s=50, seed=3))


def test_a_multi_stream_query_is_as_slow_as_its_slowest_call():
    together, most = threading.Barrier(3), []
    lock = threading.Lock()
    running = [0]

    def call():
        with lock:
            running[0] += 1
            most.append(running[0])
        if started.is_set():
            together.wait(10)
        with lock:
            running[0] -= 1

    started = threading.Event()

    def first_then_all():
        call()
        started.set()

    calls = iter([first_then_all])
    found = run_scenario(next(calls, call), Load("multi-stream", seconds=0.05, streams=3, warmup_s=0))

    assert max(most) == 3
    assert found.calls == 3 * len(found.latencies_ns)


def test_offline_uses_all_threads_and_counts_all_calls():
    names = set()

    def call():
        names.add(threading.current_thread().name)

    found = run_scenario(call, Load("offline", seconds=0.05, streams=2, warmup_s=0))

    assert len(names - {"MainThread"}) == 2
    assert found.calls == len(found.latencies_ns)
    assert found.histogram.count == found.calls


@pytest.mark.parametrize("scenario", ["multi-stream", "offline", "open-loop"])
def test_an_error_of_a_call_on_another_thread_is_raised_here(scenario):
    calls = []

    def call():
        calls.append(1)
        if len(calls) > 3:
            raise ValueError("the engine broke")

    with pytest.raises(ValueError, match="the engine broke"):
        run_scenario(call, Load(scenario, seconds=5, streams=2, rate_per_s=1000, warmup_s=0))


def test_a_cancelled_run_keeps_what_it_has():
    world = World(5)

    found = run_scenario(world.call, Load(seconds=1000, warmup_s=0), clock=world.clock, cancel=lambda: world.calls >= 20)

    assert 1 <= found.calls <= 20


def test_percentiles_carry_their_intervals_and_the_merged_histogram_agrees():
    chance = np.random.default_rng(0)
    durations = iter(chance.gamma(9, 0.5, 100_000))
    world = World()

    def call():
        world.now += round(next(durations) * MS)

    found = run_scenario(call, Load(seconds=30, warmup_s=0), clock=world.clock)

    latency, values = found.latency, np.array(found.latencies_ns) / MS
    assert latency.p99 == pytest.approx(float(np.quantile(values, 0.99, method="inverted_cdf")))
    assert latency.p99_ci95[0] < latency.p99 < latency.p99_ci95[1]
    assert latency.standard_deviation == pytest.approx(values.std(ddof=1))
    assert found.histogram.percentile_ns(99) / MS == pytest.approx(latency.p99, rel=1 / 64)
