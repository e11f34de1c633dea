"""A process with a dead thread ends at once, with words; what is no thread's death does not end it."""

from __future__ import annotations

import os
import subprocess
import sys

from edgewright.agent.last_resort import EXIT_CRIPPLED

START = "import sys, threading\nfrom edgewright.agent.last_resort import end_when_crippled\nend_when_crippled()\n"
DIES = "threading.Thread(target=lambda: [][0]).start()\nthreading.Event().wait()\n"
ENDS = "t = threading.Thread(target=sys.exit)\nt.start()\nt.join()\nprint('lives')\n"


def run(program: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONSAFEPATH": "1"}
    return subprocess.run([sys.executable, "-c", START + program], capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_a_thread_that_is_lost_ends_the_process() -> None:
    ended = run(DIES)

    assert ended.returncode == EXIT_CRIPPLED
    assert "to be started again" in ended.stderr


def test_one_that_ends_in_order_does_not() -> None:
    ended = run(ENDS)

    assert (ended.returncode, ended.stdout) == (0, "lives\n")
