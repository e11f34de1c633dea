"""``edgewright doctor``: what this machine has, what can be used, and what is missing."""

from __future__ import annotations

from pathlib import Path

import click

from .output import json_option, print_json, print_table


@click.command()
@click.option("--root", type=click.Path(path_type=Path), default=Path("/"), show_default=True, help="Look at another root's sysfs.")
@json_option
def doctor(root: Path, as_json: bool) -> None:
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
    if as_json:
        identity = {"model": board.model, "processor": board.processor, "compatible": board.compatible, "release": board.release}
        print_json({"board": identity, "backends": found, "sensors": sensors})
        return
    click.echo(f"board: {board.model or 'unknown'} {board.processor} {board.release}".rstrip())
    rows = [
        [f"backend {entry['name']}", "yes" if entry["usable"] else "no", str(entry["reason"] or f"{entry['version']} on {entry['device']}")]
        for entry in found
    ]
    rows += [[f"sensor {entry['name']}", "yes" if entry["usable"] else "no", str(entry["reason"] or "")] for entry in sensors]
    print_table(["what", "usable", "why not, or what"], rows, text="why not, or what")
