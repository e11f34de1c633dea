"""What an idle agent costs: memory and processor time, with no Python process beside it.

    .venv/bin/python benchmarks/footprint.py [--seconds 60] [--broker auto|mosquitto|amqtt] [--json]

PSS divides a shared page among all who map it, so a measuring Python process would make the agent look smaller than it is alone on a board.
Therefore this program turns (exec) into a few lines of ``/bin/sh`` while it measures and into itself again afterwards: first beside a bare
Python, then beside the agent, which is connected to a broker and has nothing to do. Memory is the median of one look a second; processor
time is all that the agent's threads had in the window, its keep-alive and its telemetry among it. Python processes that are none of ours
are counted; with any of them PSS reads too small, and RSS is its upper bound.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click
import msgspec
import procfs
from edgewright.cli.output import json_option, number, print_failure, print_json, print_table
from edgewright.controller.broker import Kind
from edgewright.core.errors import EdgewrightError, Faulty
from rig import PREFIX, Rig, children, end, exit_on_sigterm, start_bare_python
from spread import Conditions, Spread, conditions, conditions_line

BARE_LOOKS = 3
BARE_PROGRAM = "import time; time.sleep(3600)"
STAGE_VARIABLE = "EDGEWRIGHT_FOOTPRINT_STAGE"
SAMPLES = "smaps_rollup"
INTERRUPTED = "interrupted"

# $1 process, $2 looks, $3 folder for them, $4 what to say first; the rest is the command to go on as, which alone cleans up after a signal.
SAMPLER = f"""
process=$1 looks=$2 folder=$3 words=$4
trap ': >"$folder/{INTERRUPTED}"' INT TERM
shift 4
[ -z "$words" ] || echo "$words" >&2
while [ "$looks" -gt 0 ] && [ ! -e "$folder/{INTERRUPTED}" ]; do
    sleep 1
    cat "/proc/$process/{SAMPLES}" >>"$folder/{SAMPLES}" 2>/dev/null
    looks=$((looks - 1))
done
trap '' INT TERM
exec "$@"
"""


class Footprint(msgspec.Struct, frozen=True):
    """Medians over the window, in 10⁶ bytes."""

    pss_mb: float
    uss_mb: float
    rss_mb: float


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """What survives the change into the sampler and back: a look at the process. `bare` is None while the bare Python is measured."""

    folder: str
    pid: int
    time_s: float
    processor_s: float
    wakeups: int
    other_pythons: int
    bare: Footprint | None = None
    broker: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--json`` prints. `cpu_percent` is of one core over the whole window."""

    pss_mb: float
    uss_mb: float
    rss_mb: float
    pss_spread_mb: Spread
    cpu_percent: float
    wakeups_per_s: float
    seconds: float
    samples: int
    bare_python: Footprint
    other_python_processes: int
    conditions: Conditions


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seconds", type=click.FloatRange(1, 86400), default=60, show_default=True, help="How long to look at the idle agent.")
@click.option("--broker", type=click.Choice(["auto", "mosquitto", "amqtt"]), default="auto", show_default=True, help="Which broker to start.")
@json_option
def main(seconds: float, broker: Kind, as_json: bool) -> None:
    """Measure an idle agent: PSS, USS, RSS and processor time, beside a bare Python."""
    text = os.environ.pop(STAGE_VARIABLE, None)
    try:
        if text is None:
            exit_on_sigterm()
            _measure_bare()
        stage = msgspec.json.decode(text, type=Stage)
        if stage.bare is None:
            with _taken_over(stage) as samples:
                bare = footprint(samples)
            _measure_agent(bare, broker, math.ceil(seconds))
        with _taken_over(stage) as samples:
            result = agent_result(stage, _look(stage.folder, stage.pid), samples)
    except EdgewrightError as error:
        print_failure(error.reason, as_json=as_json)
        sys.exit(1)
    if as_json:
        print_json(result)
    else:
        print_result(result)


def _measure_bare() -> NoReturn:
    folder = tempfile.mkdtemp(prefix=PREFIX)
    _become_sampler(_look(folder, start_bare_python(BARE_PROGRAM).pid), BARE_LOOKS)


def _measure_agent(bare: Footprint, broker: Kind, looks: int) -> NoReturn:
    with Rig(broker) as rig:
        stage = msgspec.structs.replace(_look(str(rig.folder), rig.agent.pid), bare=bare, broker=rig.broker.kind)
        rig.leave_running()
        _become_sampler(stage, looks, f"the agent is idle; looking at it for {looks} s")


def _look(folder: str, pid: int) -> Stage:
    return Stage(
        folder=folder,
        pid=pid,
        time_s=time.monotonic(),
        processor_s=procfs.processor_s(pid),
        wakeups=procfs.wakeups(pid),
        other_pythons=procfs.other_pythons({os.getpid(), pid}),
    )


def _become_sampler(stage: Stage, looks: int, words: str = "") -> NoReturn:
    """Replace this process by the sampler, which keeps our number and our children and goes on as us."""
    environment = os.environ | {STAGE_VARIABLE: msgspec.json.encode(stage).decode()}
    command = ["sh", "-c", SAMPLER, "sh", str(stage.pid), str(looks), stage.folder, words, sys.executable, *sys.argv]
    sys.stderr.flush()
    os.execve("/bin/sh", command, environment)


@contextmanager
def _taken_over(stage: Stage) -> Iterator[list[procfs.Memory]]:
    """Back as Python: yields what the sampler saw, then ends our children and removes the folder.

    Raises:
        Faulty: ``bench-process-died`` when the measured process did not live through the window.
    """
    folder = Path(stage.folder)
    try:
        if (folder / INTERRUPTED).exists():
            raise KeyboardInterrupt
        samples = procfs.memory_samples((folder / SAMPLES).read_text(encoding="ascii"))
        if not samples or not procfs.is_alive(stage.pid):
            raise Faulty("bench-process-died", "the measured process ended by itself", "Run the benchmark again")
        yield samples
    finally:
        for pid in children(os.getpid()):
            end(pid)
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the sampler left it ignored
        exit_on_sigterm()


def agent_result(before: Stage, after: Stage, samples: list[procfs.Memory]) -> Result:
    """The agent's figures from a look before and one after its window, and the samples between."""
    assert before.bare is not None
    seconds, middle = after.time_s - before.time_s, footprint(samples)
    return Result(
        pss_mb=middle.pss_mb,
        uss_mb=middle.uss_mb,
        rss_mb=middle.rss_mb,
        pss_spread_mb=Spread.of([sample.pss_mb for sample in samples]),
        cpu_percent=round(100 * (after.processor_s - before.processor_s) / seconds, 4),
        wakeups_per_s=round((after.wakeups - before.wakeups) / seconds, 2),
        seconds=round(seconds, 1),
        samples=len(samples),
        bare_python=before.bare,
        other_python_processes=max(before.other_pythons, after.other_pythons),
        conditions=conditions(before.broker, Path(before.folder)),
    )


def footprint(samples: list[procfs.Memory]) -> Footprint:
    """The median of each figure by itself."""
    figures = ([getattr(sample, name) for sample in samples] for name in ("pss_mb", "uss_mb", "rss_mb"))
    return Footprint(*(Spread.of(values).median for values in figures))


def print_result(result: Result) -> None:
    """The agent and the bare Python in one table."""
    agent = Footprint(result.pss_mb, result.uss_mb, result.rss_mb)
    rows = [
        [name, *(number(value, digits=1) for value in (entry.pss_mb, entry.uss_mb, entry.rss_mb)), cpu]
        for name, entry, cpu in (("idle agent", agent, f"{result.cpu_percent:.3f} %"), ("bare Python", result.bare_python, "–"))
    ]
    click.echo(f"idle for {result.seconds:g} s, median of {result.samples} looks; {result.wakeups_per_s:g} wake-ups per second")
    print_table(["", "PSS MB", "USS MB", "RSS MB", "of one core"], rows)
    if result.other_python_processes:
        click.echo(f"{result.other_python_processes} other Python processes shared pages: PSS reads too small, RSS is its upper bound")
    click.echo(conditions_line(result.conditions))


if __name__ == "__main__":
    main()
