from __future__ import annotations

import os
import signal
import subprocess
import sys

import click
import pytest
from edgewright import __version__
from edgewright.cli import main
from edgewright.core.errors import Unfit


def test_every_command_has_help(edgewright):
    for name in main.COMMANDS:
        ran = edgewright(name, "--help")
        assert ran.status == 0
        assert ran.out.startswith(f"Usage: edgewright {name}")


def test_help_names_every_command(edgewright):
    ran = edgewright("--help")

    assert all(name in ran.out for name in main.COMMANDS)


def test_the_version(edgewright):
    assert edgewright("--version").out.strip() == f"edgewright, version {__version__}"


@pytest.mark.parametrize("arguments", [["fly"], ["bench"], ["bench", "m", "--frob"], ["bench", "m", "--seconds", "soon"], ["build", "m"]])
def test_bad_usage_exits_with_two(edgewright, arguments):
    ran = edgewright(*arguments)

    assert ran.status == 2
    assert ran.out == ""
    assert "Error:" in ran.err


def test_bad_usage_is_an_object_too(edgewright):
    ran = edgewright("bench", "--json")

    assert ran.status == 2
    assert ran.json["error"]["code"] == "usage"


@pytest.fixture
def failing(monkeypatch):
    """A command "fail" that raises what the test gives."""

    def install(error):
        @click.command()
        @click.option("--json", "as_json", is_flag=True)
        def fail(as_json):
            raise error

        monkeypatch.setattr(main.LazyGroup, "get_command", lambda _self, _context, _name: fail)

    return install


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unfit("disk-full", "the disk is full", "Free some"), "disk-full"),
        (PermissionError(13, "Permission denied", "/etc/x"), "os-error"),
        (MemoryError(), "out-of-memory"),
        (ZeroDivisionError("division\nby zero"), "internal-error"),
    ],
)
def test_every_failure_is_one_line_and_one_object(edgewright, failing, error, code):
    failing(error)

    ran = edgewright("fail", "--json")

    assert ran.status == 1
    assert ran.code == code


def test_a_traceback_is_shown_to_who_asks_for_it(edgewright, failing, monkeypatch):
    failing(ZeroDivisionError("division by zero"))
    monkeypatch.setenv(main.TRACEBACK_VARIABLE, "1")

    with pytest.raises(ZeroDivisionError):
        edgewright("fail")


def test_an_interruption_exits_with_130(edgewright, failing):
    failing(KeyboardInterrupt())

    ran = edgewright("fail", "--json")

    assert ran.status == 130
    assert ran.json["error"]["code"] == "interrupted"


def test_a_reader_that_goes_away_is_no_traceback():
    program = [sys.executable, "-c", "from edgewright.cli.main import main; main(['--help'])"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
        process.wait(30)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_calibration_leaves_nothing(models, tiny_classifier, tmp_path, number):
    """The signal is sent when the work has begun, seen by the folder that it makes."""
    samples = models.save_samples(tmp_path / "many.npz", 60_000)
    out = tmp_path / "new" / "out"
    arguments = ["calibrate", str(tiny_classifier), "--calibration", str(samples), "--out", str(out)]
    program = f"""
import os, signal
from edgewright.cli.main import main
from edgewright.calibration import calibrate as module
genuine = module.calibrate
def calibrate(model, data, folder, options, *, progress, cancel):
    def report(share, note):
        progress(share, note)
        if share > 0.06:
            assert os.path.isdir({str(out)!r})
            os.kill(os.getpid(), {int(number)})
    return genuine(model, data, folder, options, progress=report, cancel=cancel)
module.calibrate = calibrate
main({arguments!r})
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120, check=False, env={**os.environ, "COLUMNS": "80"})

    assert process.returncode == 130, process.stderr.decode()
    assert process.stderr.decode().strip() == "edgewright: interrupted [interrupted]"
    assert not out.exists()
