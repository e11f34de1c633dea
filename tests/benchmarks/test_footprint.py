import json
import os
import selectors
import signal

import pytest


@pytest.fixture
def footprint(benchmark):
    return benchmark("footprint")


@pytest.fixture
def samples(benchmark):
    memory = benchmark("procfs").Memory
    return [memory(pss_mb=20.0, uss_mb=16.0, rss_mb=30.0), memory(pss_mb=22.0, uss_mb=15.0, rss_mb=28.0), memory(21.0, 17.0, 29.0)]


def look(footprint, **changes):
    fields = {"folder": "/", "pid": 1, "time_s": 100.0, "processor_s": 2.0, "wakeups": 50, "other_pythons": 0, "broker": "amqtt"}
    return footprint.Stage(**fields | {"bare": footprint.Footprint(9.0, 8.0, 11.0)} | changes)


def test_each_figure_is_a_median_by_itself(footprint, samples):
    assert footprint.Footprint(pss_mb=21.0, uss_mb=16.0, rss_mb=29.0) == footprint.footprint(samples)


def test_processor_time_is_of_one_core_over_the_window(footprint, samples):
    before = look(footprint)
    after = look(footprint, time_s=160.0, processor_s=2.03, wakeups=110, other_pythons=2)

    result = footprint.agent_result(before, after, samples)

    assert result.cpu_percent == 0.05  # 0.03 s of 60 s
    assert result.wakeups_per_s == 1.0
    assert (result.seconds, result.samples, result.other_python_processes) == (60.0, 3, 2)
    assert (result.pss_spread_mb.min, result.pss_spread_mb.max) == (20.0, 22.0)


def test_the_table_has_the_agent_and_a_bare_python(footprint, samples, capsys):
    footprint.print_result(footprint.agent_result(look(footprint), look(footprint, time_s=160.0, processor_s=2.03), samples))

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["idle", "agent", "21.0", "16.0", "29.0", "0.050", "%"] in lines
    assert ["bare", "Python", "9.0", "8.0", "11.0", "–"] in lines


def test_other_pythons_are_told_because_pss_reads_too_small_with_them(footprint, samples, capsys):
    footprint.print_result(footprint.agent_result(look(footprint, other_pythons=3), look(footprint, time_s=160.0), samples))

    assert "3 other Python processes shared pages" in capsys.readouterr().out


def test_help_tells_the_options(start_benchmark):
    output, _ = start_benchmark("footprint", "--help").communicate(timeout=60)

    assert all(option in output for option in ("--seconds", "--broker", "--json"))


def test_a_real_idle_agent_is_measured_and_nothing_is_left_behind(start_benchmark, left_behind):
    process = start_benchmark("footprint", "--seconds", "1", "--json")
    output, errors = process.communicate(timeout=240)

    assert process.returncode == 0, errors
    result = json.loads(output)
    assert 0 < result["uss_mb"] <= result["pss_mb"] <= result["rss_mb"]
    assert 0 < result["bare_python"]["pss_mb"] < result["rss_mb"]
    assert result["samples"] == 1
    assert left_behind() == []


def test_ctrl_c_while_the_shell_samples_leaves_nothing_behind(start_benchmark, left_behind):
    process = start_benchmark("footprint", "--seconds", "600")
    with selectors.DefaultSelector() as selector:
        selector.register(process.stderr, selectors.EVENT_READ)
        assert selector.select(120)
    assert "the agent is idle" in process.stderr.readline()

    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)

    assert (process.returncode, output) == (1, "")
    assert left_behind() == []
