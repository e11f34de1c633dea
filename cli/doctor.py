"""``edgewright doctor``: what this machine has, what can be used, and what is missing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from .output import json_option, number, print_json, print_table


@click.command()
@click.option("--root", type=click.Path(path_type=Path), default=Path("/"), show_default=True, help="Look at another root's sysfs.")
@click.option("--power", "with_power", is_flag=True, help="Also step the load for ten seconds, and find out what the power sensor is like.")
@json_option
def doctor(root: Path, with_power: bool, as_json: bool) -> None:
    """List the board, the backends and the sensors; each usable, or with the reason why not."""
    from ..engines.discovery import backend_statuses
    from ..profiling.board import read_board
    from ..profiling.survey import sensor_statuses
    from ..profiling.sysfs import Sysfs

    board = read_board(root)
    found = [
        {"name": status.name, "usable": status.is_usable, "reason": status.reason, "version": status.version, "device": status.device}
        for status in backend_statuses()
    ]
    sensors = [{"name": status.name, "usable": status.is_usable, "reason": status.reason} for status in sensor_statuses(Sysfs(root))]
    self_test = _self_test(root) if with_power else None
    if as_json:
        identity = {"model": board.model, "processor": board.processor, "compatible": board.compatible, "release": board.release}
        print_json({"board": identity, "backends": found, "sensors": sensors} | ({"power": self_test} if with_power else {}))
        return
    click.echo(f"board: {board.model or 'unknown'} {board.processor} {board.release}".rstrip())
    rows = [
        [f"backend {entry['name']}", "yes" if entry["usable"] else "no", str(entry["reason"] or f"{entry['version']} on {entry['device']}")]
        for entry in found
    ]
    rows += [[f"sensor {entry['name']}", "yes" if entry["usable"] else "no", str(entry["reason"] or "")] for entry in sensors]
    print_table(["what", "usable", "why not, or what"], rows, text="why not, or what")
    if self_test is not None:
        _print_self_test(self_test)


def _self_test(root: Path) -> dict[str, Any]:
    """What the sensor is like, or why that cannot be found out; a reason is no failure."""
    from ..profiling.selftest import run_self_test
    from ..profiling.survey import survey_power

    found = run_self_test(survey_power(root))
    return {"sensor": None, "reason": found} if isinstance(found, str) else dataclasses.asdict(found)


def _print_self_test(found: dict[str, Any]) -> None:
    if found["sensor"] is None:
        click.echo(f"power sensor: {found['reason']}")
        return
    click.echo(f"power sensor {found['sensor']}: a load step of {found['step_mw']:.0f} mW")
    click.echo(f"  filter constant: {number(found['filter_s'], 's', 3)} (its driver says {number(found['expected_filter_s'], 's', 3)})")
    click.echo(f"  resolution: {number(found['resolution_mw'], 'mW', 1)}")
    click.echo(f"  a reading takes {found['read_p50_ms']:.2f} ms (p99 {found['read_p99_ms']:.2f}, longest {found['read_max_ms']:.2f})")
    if found["reason"]:
        click.echo(f"  {found['reason']}")
