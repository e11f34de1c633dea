"""Latency with a clock that the test moves: numbers follow from arithmetic, and nothing waits."""

from __future__ import annotations

import gc

import pytest
from edgewright.core.errors import Unfit
from edgewright.profiling.latency import measure_interleaved, measure_latency, summarise

MS = 1_000_000


class FakeClock:
    """Nanoseconds, moved by the calls themselves."""

    def __init__(self):
        self.now_ns = 0

    def __call__(self):
        return self.now_ns

    def call(self, *durations_ms):
        """A callable that takes these times in turn."""
        state = {"next": 0}

        def run():
            self.now_ns += int(durations_ms[state["next"] % len(durations_ms)] * MS)
            state["next"] += 1

        return run


@pytest.fixture
def clock():
    return FakeClock()


def test_a_steady_call_has_its_own_time_everywhere(clock):
    found = measure_latency(clock.call(2), seconds=1, clock_ns=clock)

    assert (found.mean, found.p50, found.p90, found.p99, found.min, found.max) == (2, 2, 2, 2, 2, 2)
    assert found.throughput_per_s == 500
    assert found.samples >= 500


def test_rare_slow_calls_show_in_the_highest_percentile_alone(clock):
    found = measure_latency(clock.call(*[1] * 49, 100), seconds=20, clock_ns=clock)

    assert (found.p50, found.p90, found.p99, found.max) == (1, 1, 100, 100)
    assert found.mean == pytest.approx((49 + 100) / 50, rel=0.05)


def test_a_slow_call_is_still_measured_a_hundred_times(clock):
    found = measure_latency(clock.call(5000), seconds=1, clock_ns=clock)

    assert 100 <= found.samples <= 101
    assert found.p99 == 5000


def test_a_percentile_below_its_minimum_is_refused(clock):
    found = measure_latency(clock.call(5), seconds=0.01, min_samples=20, clock_ns=clock)

    assert found.samples < 100
    assert found.p50 == 5
    assert found.p99 is None


def test_warming_up_is_not_counted(clock):
    calls = iter([50.0] * 3)

    def run():
        clock.now_ns += int(next(calls, 1.0) * MS)

    found = measure_latency(run, seconds=0.2, warmup_s=0.1, clock_ns=clock)

    assert found.max == 1


def test_the_number_of_samples_is_bounded(clock):
    found = measure_latency(clock.call(0.001), seconds=1e6, max_samples=1000, clock_ns=clock)

    assert 1000 <= found.samples < 1200


def test_callables_in_turns_each_get_their_own_time(clock):
    found = measure_interleaved({"a": clock.call(1), "b": clock.call(4)}, seconds=1, clock_ns=clock)

    assert (found["a"].p50, found["b"].p50) == (1, 4)
    assert (found["a"].throughput_per_s, found["b"].throughput_per_s) == (1000, 250)


def test_whose_turn_it_is_is_said_before_any_of_its_calls(clock):
    turns, called = [], []
    run_a, run_b = clock.call(1), clock.call(4)

    def call(name, run):
        called.append((name, turns[-1]))
        run()

    measure_interleaved({"a": lambda: call("a", run_a), "b": lambda: call("b", run_b)}, seconds=1, clock_ns=clock, at=turns.append)

    assert set(called) == {("a", "a"), ("b", "b")}


def test_a_slow_moment_hits_all_callables_alike(clock):
    def slowed(duration_ms):
        def run():
            # From 1 s to 2 s of the clock, everything takes twice as long.
            clock.now_ns += int(duration_ms * MS * (2 if 1 <= clock.now_ns / 1e9 < 2 else 1))

        return run

    found = measure_interleaved({"a": slowed(2), "b": slowed(2)}, seconds=2, clock_ns=clock)

    assert found["a"].mean == pytest.approx(found["b"].mean, rel=0.1)


def test_a_cancelled_measurement_ends_without_numbers(clock):
    with pytest.raises(Unfit) as caught:
        measure_latency(clock.call(1), seconds=1000, clock_ns=clock, cancel=lambda: True)

    assert caught.value.code == "cancelled"


def test_garbage_is_not_collected_meanwhile_and_is_afterwards(clock):
    seen = []

    def run():
        seen.append(gc.isenabled())
        clock.now_ns += MS

    measure_latency(run, seconds=0.1, warmup_s=0, clock_ns=clock)

    assert not any(seen[-100:])
    assert gc.isenabled()


def test_garbage_is_collected_again_after_a_failure(clock):
    def fail():
        raise RuntimeError("inference failed")

    with pytest.raises(RuntimeError):
        measure_latency(fail, clock_ns=clock)

    assert gc.isenabled()


def test_summary_by_hand():
    found = summarise([3 * MS, 1 * MS, 2 * MS] * 4, spent_ns=60 * MS)

    assert (found.mean, found.p50, found.p90, found.min, found.max, found.samples) == (2, 2, 3, 1, 3, 12)
    assert found.p99 is None
    assert found.throughput_per_s == pytest.approx(200)


def test_no_samples_have_no_summary():
    with pytest.raises(ValueError, match="no samples"):
        summarise([])
