"""How far energy and its intervals can be believed: the product's own estimator against plain integrators on a simulated power sensor.

    .venv/bin/python benchmarks/profiling.py [--share 1.0] [--only NAME] [--json]

The sensor is a simulated INA3221, written from its data sheet (``tests/fakes/ina3221_chip.py``), with NVIDIA's settings: 512 averages in 430 ms.
Every run has a known truth, the exact integral of its waveform; all integrators see the same registers. ``--share 0.1`` takes a tenth of the runs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import msgspec
from edgewright.cli.output import json_option, print_json, print_table
from power_marks import Mark, aliasing, bias, boards, clock_steps, coverage, day, fuzz, kills, sampler_cost, self_test
from spread import Conditions, conditions, conditions_line

Experiment = Callable[[float], Iterator[Mark]]


def _many(function: Callable[[int], Iterator[Mark]], full: int, least: int) -> Experiment:
    return lambda share: function(max(least, round(full * share)))


EXPERIMENTS: dict[str, Experiment] = {
    "bias": _many(bias, 1000, 20),
    "coverage": _many(coverage, 2000, 40),
    "aliasing": _many(aliasing, 300, 20),
    "boards": lambda _: boards(),
    "self-test": lambda _: self_test(),
    "sampler": _many(sampler_cost, 3000, 300),
    "day": lambda share: day(max(0.5, 24 * share)),
    "fuzz": _many(fuzz, 1_000_000, 30_000),
    "clocks": lambda _: clock_steps(),
    "kills": _many(kills, 50, 10),
}


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--json`` prints."""

    marks: tuple[Mark, ...]
    share: float
    seconds: float
    conditions: Conditions


@click.command()
@click.option("--share", type=click.FloatRange(0.001, 1.0), default=1.0, show_default=True, help="Share of the full number of runs.")
@click.option("--only", "names", multiple=True, type=click.Choice(list(EXPERIMENTS)), help="One experiment; may be repeated.")
@json_option
def main(share: float, names: tuple[str, ...], as_json: bool) -> None:
    """Run the experiments; exits 1 when a mark is missed."""
    before = conditions("", Path.cwd())
    started_s = time.monotonic()
    marks: list[Mark] = []
    for name in names or EXPERIMENTS:
        click.echo(f"{name} …", err=True)
        marks += [_plain(mark) for mark in EXPERIMENTS[name](share)]
    result = Result(marks=tuple(marks), share=share, seconds=round(time.monotonic() - started_s, 1), conditions=before)
    if as_json:
        print_json(result)
    else:
        rows = [[mark.name, _number(mark.value, mark.unit), mark.limit, _verdict(mark.ok), _naive(mark), mark.note] for mark in result.marks]
        print_table(["figure", "here", "mark", "met", "plain integrators", "note"], rows, text="note")
        click.echo(conditions_line(before))
    sys.exit(0 if all(mark.ok is not False for mark in result.marks) else 1)


def _plain(mark: Mark) -> Mark:
    """numpy's numbers as Python's, which JSON knows."""
    naive = {name: float(value) for name, value in mark.naive.items()}
    return msgspec.structs.replace(mark, value=float(mark.value), ok=None if mark.ok is None else bool(mark.ok), naive=naive)


def _number(value: float, unit: str) -> str:
    text = f"{value:.0f}" if value == int(value) else f"{value:.2f}"
    return f"{text} {unit}".rstrip()


def _verdict(ok: bool | None) -> str:
    return "" if ok is None else ("yes" if ok else "NO")


def _naive(mark: Mark) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in mark.naive.items())


if __name__ == "__main__":
    main()
