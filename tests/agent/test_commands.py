"""The owner's commands, with real processes: their exit status decides, and nothing that they do can hang the agent."""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from pathlib import Path

import pytest
from edgewright.agent.commands import run_command
from edgewright.core.errors import EdgewrightError, Rejected, Unfit

ENGINE = Path("/state/models/m/engines/d1-1")


def run(code: str, *, timeout_s: float = 20.0, cancel: threading.Event | None = None) -> None:
    run_command([sys.executable, "-c", code], "health", "m", ENGINE, timeout_s, cancel or threading.Event())


def failure(code: str, **options: float) -> EdgewrightError:
    with pytest.raises(EdgewrightError) as caught:
        run(code, **options)
    return caught.value


def test_an_exit_status_of_zero_is_good(tmp_path: Path) -> None:
    run(f"import os; open({str(tmp_path / 'seen')!r}, 'w').write(os.environ['EDGEWRIGHT_MODEL'] + ' ' + os.environ['EDGEWRIGHT_ENGINE'])")

    assert (tmp_path / "seen").read_text() == f"m {ENGINE}"


def test_any_other_status_is_a_failure_with_its_last_words() -> None:
    error = failure("import sys; print('first'); print('it is broken', file=sys.stderr); sys.exit(3)")

    assert (type(error), error.code) == (Unfit, "health-failed")
    assert error.message == "the health command ended with 3: it is broken"


def test_a_signal_is_a_failure() -> None:
    assert "-9" in failure("import os; os.kill(os.getpid(), 9)").message


def test_a_program_that_does_not_exist_is_the_configuration_s_fault() -> None:
    with pytest.raises(Rejected) as caught:
        run_command(["/no/such/program"], "activate", "m", ENGINE, 1.0, threading.Event())

    assert (caught.value.code, "models.m.activate" in caught.value.next_step) == ("command-absent", True)


def test_one_that_takes_too_long_is_killed_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid_file = tmp_path / "pid"
    code = f"import subprocess; c = subprocess.Popen(['sleep', '600']); print(c.pid, file=open({str(pid_file)!r}, 'w'), flush=True); c.wait()"
    clock = time.monotonic
    # The time is up when the child's child runs, however slow this machine is.
    monkeypatch.setattr(time, "monotonic", lambda: clock() + (100 if pid_file.exists() and pid_file.stat().st_size else 0))
    error = failure(code, timeout_s=60.0)

    assert (error.code, "60 s" in error.message) == ("health-failed", True)
    assert has_ended(int(pid_file.read_text()))


def has_ended(pid: int) -> bool:
    """Whether it ends within a while: a kill is sent, not done, when its system call returns."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(descriptor):
        return bool(select.select([descriptor], [], [], 20.0)[0])


def is_running(pid: int) -> bool:
    """Zombies that nobody has collected are dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_cancelling_kills_it() -> None:
    cancel = threading.Event()
    timer = threading.Timer(0.3, cancel.set)
    timer.start()
    with pytest.raises(Unfit) as caught:
        run("import time; time.sleep(600)", cancel=cancel)
    timer.join()

    assert caught.value.code == "cancelled"


@pytest.mark.parametrize("code", ["while True: print('x' * 1000)", "import os\nos.close(1); os.close(2)\nimport time; time.sleep(600)"])
def test_whether_it_prints_without_end_or_closes_its_output_the_time_limit_holds(code: str) -> None:
    assert failure(code, timeout_s=1.0).code == "health-failed"


def test_of_much_output_the_end_is_kept() -> None:
    error = failure("import sys; print('x' * 1_000_000); print('the end'); sys.exit(1)")

    assert error.message.endswith(": the end")


def test_what_it_leaves_in_the_background_is_not_waited_for(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = f"import subprocess; c = subprocess.Popen(['sleep', '600']); open({str(pid_file)!r}, 'w').write(str(c.pid))"
    run(code, timeout_s=20.0)
    pid = int(pid_file.read_text())

    assert is_running(pid)
    os.kill(pid, 9)


def test_it_reads_no_terminal() -> None:
    run("import sys; assert sys.stdin.read() == ''")


def test_no_descriptor_is_left_behind() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for code in ("pass", "raise SystemExit(1)"):
        try:
            run(code)
        except Unfit:
            continue

    assert len(os.listdir("/proc/self/fd")) == before
