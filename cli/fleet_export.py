"""``edgewright fleet export``: devices, measurements and the audit log for spreadsheets and scripts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .fleet_state import fleet_database, fleet_paths, state_option
from .output import json_option, print_json

if TYPE_CHECKING:
    from ..controller.exports import ExportFormat, ExportKind


@click.command()
@click.argument("kind", type=click.Choice(["devices", "measurements", "audit"]))
@state_option
@click.option("--format", "form", type=click.Choice(["csv", "json"]), default="csv", show_default=True, help="JSON is one object per line.")
@click.option("--out", type=click.Path(path_type=Path), help="File to write; default: stdout.")
@json_option
def export(kind: ExportKind, state: Path, form: ExportFormat, out: Path | None, as_json: bool) -> int:
    """Write everything that KIND has."""
    if as_json and out is None:
        raise click.UsageError("--json tells what was written to --out; for JSON on stdout use --format json")
    with fleet_database(fleet_paths(state)) as database:
        from ..controller.exports import export as run

        pieces = run(database, kind, form)
        if out is None:
            sys.stdout.writelines(pieces)
            return 0
        with out.open("w", encoding="utf-8", newline="") as file:
            file.writelines(pieces)
    if as_json:
        print_json({"out": str(out.resolve()), "kind": kind, "format": form})
    return 0
