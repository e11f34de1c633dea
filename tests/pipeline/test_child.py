"""Every way in which a child can end has its name, and none leaves a process behind."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading

import msgspec
import pytest
from edgewright.core.errors import Reason
from edgewright.pipeline import child
from edgewright.pipeline.child import Limits, run_child
from edgewright.pipeline.memory import group_rss_mb

PYTHON = sys.executable
WAIT_S = 20
PATIENT = Limits(time_s=60, nice=0)


@pytest.fixture
def fake_worker(project_root, tmp_path, monkeypatch):
    """Children run ``tests/fakes/worker.py`` instead of the worker."""
    script = tmp_path / "python"
    script.write_text(f"#!{PYTHON}\n" + (project_root / "tests" / "fakes" / "worker.py").read_text(encoding="utf-8"), encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setattr(child.sys, "executable", str(script))
    return script


def ends(pid):
    """Wait, bounded, until the process `pid` is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], WAIT_S)[0])
    finally:
        os.close(descriptor)


def test_done_gives_the_result_that_the_child_wrote(fake_worker):
    outcome = run_child("echo", b"x" * 300_000, Limits(time_s=60, nice=3))

    assert outcome.kind == "done"
    assert outcome.reason is None
    assert msgspec.json.decode(outcome.result) == {"bytes": 300_000, "nice": os.nice(0) + 3, "session": True}
    assert outcome.seconds > 0


@pytest.mark.parametrize(("nice", "expected"), [(1, {"class": 2, "level": 7}), (0, None)])
def test_a_nice_child_is_last_at_the_disk_too(fake_worker, nice, expected):
    import psutil

    ours = psutil.Process().ionice()

    outcome = run_child("disk", b"", Limits(time_s=60, nice=nice))

    assert msgspec.json.decode(outcome.result) == (expected or {"class": int(ours.ioclass), "level": int(ours.value)})


def test_progress_arrives_in_order(fake_worker):
    seen = []

    outcome = run_child("progress", b"", PATIENT, on_progress=lambda share, note: seen.append((share, note)))

    assert seen == [(0.0, "at 0.0"), (0.5, "at 0.5"), (1.0, "at 1.0")]
    assert outcome.result == b"[1]"


def test_lines_may_come_in_pieces(fake_worker):
    seen = []

    outcome = run_child("slow lines", b"", PATIENT, on_progress=lambda share, note: seen.append((share, note)))

    assert seen == [(0.25, "ab")]
    assert outcome.result == b"7"


def test_a_failure_is_told_in_the_childs_own_words(fake_worker):
    outcome = run_child("failed", b"", PATIENT)

    assert outcome.kind == "failed"
    assert outcome.result is None
    assert outcome.reason == Reason("model-unreadable", "it is broken", "send another", "rejected")


def test_a_child_that_says_it_has_no_memory_is_out_of_memory(fake_worker):
    assert run_child("no memory", b"", PATIENT).kind == "out_of_memory"


def test_what_is_not_the_protocol_is_passed_over(fake_worker):
    assert run_child("noise", b"", PATIENT).kind == "done"


def test_a_child_without_an_answer_crashed(fake_worker):
    outcome = run_child("silent", b"", PATIENT)

    assert outcome.kind == "crashed"
    assert outcome.reason.code == "worker-crashed"
    assert "exit status 3" in outcome.reason.message


def test_a_signal_is_named(fake_worker):
    outcome = run_child("aborts", b"", PATIENT)

    assert outcome.kind == "crashed"
    assert "signal 6" in outcome.reason.message


def test_a_child_that_dies_before_it_reads_its_request_crashed(fake_worker):
    fake_worker.write_text("#!/bin/sh\nexit 7\n")

    outcome = run_child("echo", b"x" * 1_000_000, PATIENT)

    assert outcome.kind == "crashed"
    assert "exit status 7" in outcome.reason.message


def test_the_kernels_memory_killer_is_recognised(fake_worker):
    outcome = run_child("killed", b"", PATIENT)

    assert outcome.kind == "out_of_memory"
    assert outcome.reason.family == "unfit"


def test_time_is_limited(fake_worker):
    pids = []

    outcome = run_child("hangs", b"", Limits(time_s=1.5), on_progress=lambda _share, note: pids.append(int(note)))

    assert outcome.kind == "timed_out"
    assert outcome.reason.code == "timed-out"
    assert ends(pids[0])


def test_memory_is_limited(fake_worker):
    pids = []

    outcome = run_child("hoards", b"", Limits(time_s=60, memory_mb=100), on_progress=lambda _share, note: pids.append(int(note)))

    assert outcome.kind == "out_of_memory"
    assert outcome.reason.code == "out-of-memory"
    assert outcome.peak_mb > 100
    assert ends(pids[0])


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(time_s=60, memory_mb=3000, nice=0), "needed more memory than 3000 MB (peak 5000 MB)"),
        (Limits(time_s=60, reserve_mb=1500, nice=0), "the board had only 1000 MB of memory left"),
    ],
    ids=["more than it may", "less than the board needs"],
)
def test_the_shared_memory_of_a_jetson_is_limited(fake_worker, tmp_path, limits, words):
    """The GPU takes five of its six gigabytes, which are in nobody's resident memory."""
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/compatible").write_text("nvidia,p3767-0005\0nvidia,tegra234\0")
    (tmp_path / "proc/meminfo").write_text(f"MemAvailable: {6000 * 1024} kB\n")
    pids = []

    def started(_share, note):
        pids.append(int(note))
        (tmp_path / "proc/meminfo").write_text(f"MemAvailable: {1000 * 1024} kB\n")

    outcome = run_child("hangs", b"", limits, on_progress=started, root=tmp_path)

    assert (outcome.kind, outcome.reason.code) == ("out_of_memory", "out-of-memory")
    assert words in outcome.reason.message
    assert ends(pids[0])


def test_a_child_can_be_cancelled(fake_worker):
    cancel = threading.Event()
    pids = []

    def started(_share, note):
        pids.append(int(note))
        cancel.set()

    outcome = run_child("hangs", b"", PATIENT, on_progress=started, cancel=cancel)

    assert outcome.kind == "cancelled"
    assert outcome.reason.code == "cancelled"
    assert ends(pids[0])


def test_the_whole_group_is_killed(fake_worker):
    cancel = threading.Event()
    pids = []

    def started(_share, note):
        pids.append(int(note))
        cancel.set()

    run_child("has children", b"", PATIENT, on_progress=started, cancel=cancel)

    assert ends(pids[0])


def test_a_failing_listener_leaves_no_child(fake_worker):
    pids = []

    def fail(_share, note):
        pids.append(int(note))
        raise RuntimeError("the listener failed")

    with pytest.raises(RuntimeError):
        run_child("hangs", b"", PATIENT, on_progress=fail)

    assert ends(pids[0])


def test_the_child_dies_with_its_parent(fake_worker):
    program = """
import sys
from edgewright.pipeline import child
child.sys.executable = sys.argv[1]
child.run_child("hangs", b"", child.Limits(time_s=600), on_progress=lambda share, note: print(note, flush=True))
"""
    with subprocess.Popen([PYTHON, "-c", program, str(fake_worker)], stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
        parent.wait(WAIT_S)

    assert ends(pid)


def test_no_descriptor_stays_open(fake_worker):
    run_child("echo", b"", PATIENT)
    before = sorted(os.listdir("/proc/self/fd"))
    for scenario in ("echo", "failed", "silent"):
        run_child(scenario, b"", PATIENT)

    assert before == sorted(os.listdir("/proc/self/fd"))


def test_memory_of_a_group_counts_its_children(fake_worker):
    own = group_rss_mb(os.getpid())
    with subprocess.Popen([PYTHON, "-c", "print(1, flush=True); input()"], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        both = group_rss_mb(os.getpid())
        process.communicate(b"\n")

    assert own > 10
    assert both > own + 3


def test_a_process_that_is_gone_takes_no_memory():
    process = subprocess.Popen(["true"])
    process.wait()

    assert group_rss_mb(process.pid) == 0
