"""A broker's life on it is in test_broker; here is what goes wrong."""

from __future__ import annotations

import os
import subprocess
import sys

from edgewright.controller.leash import leashed

WAIT_S = 60


def test_the_command_runs_as_itself_with_its_arguments_and_its_status() -> None:
    code = "import os, sys; print(os.getpid(), sys.argv[1:]); sys.exit(7)"
    process = subprocess.Popen(leashed([sys.executable, "-c", code, "a b", "--c"]), stdout=subprocess.PIPE, text=True)
    out, _ = process.communicate(timeout=WAIT_S)

    assert (out, process.returncode) == (f"{process.pid} ['a b', '--c']\n", 7)


def test_when_the_parent_has_ended_already_nothing_is_started() -> None:
    command = leashed([sys.executable, "-c", "print('started')"])
    command[3] = str(os.getppid())
    ran = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)

    assert (ran.returncode, ran.stdout) == (1, "")


def test_a_program_that_cannot_be_started_is_one_line() -> None:
    ran = subprocess.run(leashed(["/no/such/program"]), capture_output=True, text=True, timeout=WAIT_S, check=False)

    assert (ran.returncode, ran.stderr) == (1, "/no/such/program cannot be started: No such file or directory\n")
