"""``edgewright power``: what the board draws now, rail by rail."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import json_option, print_json, print_table
from .power_modes import restore, sweep

if TYPE_CHECKING:
    from ..profiling.reading import PowerReading, TotalReading


@click.group(invoke_without_command=True)
@click.option("--seconds", type=click.FloatRange(0.1, 86400), default=1.0, show_default=True, help="How long to read.")
@click.option("--root", type=click.Path(path_type=Path), default=Path("/"), show_default=True, help="Read another root's sysfs.")
@click.option("--record", type=click.Path(path_type=Path), help="Write every reading to this CSV file.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the rails over time into this SVG file.")
@json_option
@click.pass_context
def power(context: click.Context, seconds: float, root: Path, record: Path | None, plot: Path | None, as_json: bool) -> None:
    """Read every power sensor, and say what the whole board draws, or why that cannot be said."""
    if context.invoked_subcommand is not None:
        return
    from ..profiling.reading import read_power
    from ..profiling.record import Recorder
    from ..profiling.survey import survey_power

    survey = survey_power(root)
    with Recorder(survey.rails, record, plot) as recorder:
        reading = read_power(survey, seconds, on_rows=recorder.rows)
    if as_json:
        print_json(_as_json(reading))
    else:
        _print(reading)


def _as_json(reading: PowerReading) -> dict[str, Any]:
    return {
        "rails": [
            {
                "label": entry.rail.label,
                "mean_mw": entry.mean_mw,
                "sensor": entry.rail.sensor,
                "key": entry.rail.key,
                "missing": entry.missing,
                "reason": entry.reason,
                "filter_s": entry.rail.traits.filter_s,
                "resolution_mw": entry.rail.traits.resolution_mw,
            }
            for entry in reading.rails
        ],
        "total": None if reading.total is None else _total_as_json(reading.total),
        "total_reason": reading.total_reason,
        "others": [_total_as_json(other) for other in reading.others],
        "seconds": round(reading.seconds, 3),
        "samples": reading.samples,
        "read_cost_ms": reading.read_cost_ms,
    }


def _total_as_json(total: TotalReading) -> dict[str, Any]:
    return {"mean_mw": total.mean_mw, "rails": total.rails, "scope": total.scope}


def _print(reading: PowerReading) -> None:
    if reading.rails:
        rows = [[entry.rail.label, entry.reason or f"{entry.mean_mw:.0f} mW", entry.rail.sensor] for entry in reading.rails]
        print_table(["rail", "power", "sensor"], rows)
    if reading.total is None:
        click.echo(f"total: {reading.total_reason}")
    for total in (*reading.others, reading.total):
        if total is not None:
            name = "total" if total is reading.total else "also"
            click.echo(f"{name}: {total.mean_mw:.0f} mW ({total.scope})")


power.add_command(sweep)
power.add_command(restore)
