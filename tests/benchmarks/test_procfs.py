import os
import resource
import subprocess
import sys
import time

import pytest

LOOK = """\
55784a133000-7ffc6a94e000 ---p 00000000 00:00 0                          [rollup]
Rss:               27804 kB
Pss:               20715 kB
Pss_Dirty:         16120 kB
Shared_Clean:      11564 kB
Private_Clean:       120 kB
Private_Dirty:     16120 kB
"""


@pytest.fixture
def procfs(benchmark):
    return benchmark("procfs")


@pytest.fixture
def python():
    """A Python process that has started and waits."""
    command = [sys.executable, "-c", "import sys; print('ready', flush=True); sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_a_look_is_in_units_of_a_million_bytes_and_uss_is_what_is_private(procfs):
    (sample,) = procfs.memory_samples(LOOK)

    assert sample.pss_mb == pytest.approx(20715 * 1024 / 1e6)
    assert sample.rss_mb == pytest.approx(27804 * 1024 / 1e6)
    assert sample.uss_mb == pytest.approx((120 + 16120) * 1024 / 1e6)


def test_every_look_of_a_concatenation_counts_and_one_that_was_cut_does_not(procfs):
    later = LOOK.replace("20715", "10000")

    samples = procfs.memory_samples(LOOK + later + LOOK[: LOOK.index("Private_Dirty")])

    assert [sample.pss_mb for sample in samples] == pytest.approx([21.21216, 10.24])


def test_the_kernels_own_text_is_understood(procfs):
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        (sample,) = procfs.memory_samples(file.read())

    assert 0 < sample.uss_mb <= sample.pss_mb <= sample.rss_mb


def test_processor_time_of_a_process_is_what_it_reads_itself(procfs):
    before_s = time.process_time()
    seen_s = procfs.processor_s(os.getpid())
    after_s = time.process_time()

    assert before_s <= seen_s <= after_s


def test_wakeups_count_the_waits_of_the_living_threads(procfs):
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    seen = procfs.wakeups(os.getpid())

    assert before <= seen


def test_the_peak_keeps_memory_that_is_gone_until_it_is_reset(procfs):
    pid = os.getpid()
    procfs.reset_peak(pid)
    block = bytearray(b"x") * (128 << 20)
    del block

    held_mb = procfs.peak_rss_mb(pid) - procfs.rss_mb(pid)
    procfs.reset_peak(pid)
    left_mb = procfs.peak_rss_mb(pid) - procfs.rss_mb(pid)

    assert held_mb > 100
    assert left_mb < 30


def test_memory_of_a_process_that_is_gone_is_no_number(procfs, python):
    python.kill()
    os.waitid(os.P_PID, python.pid, os.WEXITED | os.WNOWAIT)

    with pytest.raises(ProcessLookupError):
        procfs.rss_mb(python.pid)


def test_a_process_lives_until_it_ends_also_when_nobody_has_buried_it(procfs, python):
    assert procfs.is_alive(python.pid)

    python.kill()
    os.waitid(os.P_PID, python.pid, os.WEXITED | os.WNOWAIT)
    assert not procfs.is_alive(python.pid)

    python.wait()
    assert not procfs.is_alive(python.pid)


def test_another_python_shares_our_interpreter_and_another_program_does_not(procfs, python):
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        assert procfs.maps_our_interpreter(python.pid)
        assert not procfs.maps_our_interpreter(other.pid)
        assert procfs.other_pythons({os.getpid()}) >= 1
        other.stdin.close()
