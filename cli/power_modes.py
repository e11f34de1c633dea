"""``edgewright power sweep`` and ``power restore``: a model in each allowed power mode, and the way back after a crash."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import backend_option, batch_option, existing_path, json_option, number, print_json, print_table, threads_option

if TYPE_CHECKING:
    from ..pipeline.sweep import SweepResult

journal_option = click.option(
    "--journal",
    type=click.Path(path_type=Path),
    default=Path("/var/lib/edgewright/power-mode.json"),
    show_default=True,
    help="Where the original mode is kept until it is back.",
)


@click.command()
@click.argument("model", type=existing_path)
@click.option("--seconds", type=click.FloatRange(1, 3600), default=10.0, show_default=True, help="How long to measure in each mode.")
@click.option("--deadline", "deadline_ms", type=click.FloatRange(min=0, min_open=True), help="Milliseconds that p99 may take.")
@journal_option
@backend_option
@threads_option
@batch_option
@json_option
def sweep(
    model: Path, seconds: float, deadline_ms: float | None, journal: Path, backend: str | None, threads: int, batch: int, as_json: bool
) -> None:
    """Measure MODEL in each nvpmodel mode that [modes] allow of power.toml lists; needs root. The original mode comes back."""
    from ..pipeline.sweep import Bench, measure_in_child
    from ..pipeline.sweep import sweep as run_sweep
    from ..profiling.conditions import take_snapshot
    from ..profiling.power_config import read_power_config
    from ..profiling.power_modes import NvpmodelSwitch, read_modes, switchable
    from ..profiling.survey import sensor_statuses
    from ..profiling.sysfs import Sysfs

    tree = Sysfs()
    switch = NvpmodelSwitch(tree)
    modes, notes = switchable(read_modes(tree), switch.current(), read_power_config(tree).modes.allow)
    measure = measure_in_child(model.resolve(), seconds=seconds, backend=backend, threads=threads, batch=batch)
    on_battery = any(status.name == "battery" and status.is_usable for status in sensor_statuses(tree))
    result = run_sweep(Bench(modes, switch, measure, take_snapshot, on_battery), journal, deadline_ms=deadline_ms, notes=notes)
    if as_json:
        print_json(result)
    else:
        _print(result)


@click.command()
@journal_option
@json_option
def restore(journal: Path, as_json: bool) -> None:
    """Go back to the power mode that an interrupted sweep has left; nothing happens when none was."""
    from ..profiling.mode_journal import restore_mode
    from ..profiling.power_modes import NvpmodelSwitch
    from ..profiling.sysfs import Sysfs

    mode = restore_mode(journal, NvpmodelSwitch(Sysfs()))
    if as_json:
        print_json({"restored": mode})
    else:
        click.echo("no sweep was interrupted" if mode is None else f"power mode {mode} is back")


def _print(result: SweepResult) -> None:
    rows = []
    for row in result.rows:
        latency, energy = (None, None) if row.profile is None else (row.profile.latency_ms, row.profile.energy_mj)
        why = row.reason.line() if row.reason else (row.profile.energy_reason or "" if row.profile else "")
        mark = "*" if row.mode in result.pareto and not row.is_repeat else ""
        name = f"{row.mode} {row.name}" + (" again" if row.is_repeat else "")
        figures = [
            number(latency.p50 if latency else None, "ms"),
            number(latency.p99 if latency else None, "ms"),
            number(energy.mean if energy else None, "mJ"),
        ]
        rows.append([name, mark, *figures, why])
    print_table(["mode", "Pareto", "p50", "p99", "energy", "why not"], rows, text="why not")
    click.echo(f"cheapest mode: {result.cheapest if result.cheapest is not None else result.cheapest_reason}")
    if result.drift_percent is not None:
        click.echo(f"drift: {result.drift_percent:+.1f} % between the first mode's two turns")
    for note in result.notes:
        click.echo(f"left out: {note}")
