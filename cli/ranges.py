"""``edgewright ranges``: what several devices observed of one model, put together or compared."""

from __future__ import annotations

from pathlib import Path

import click

from .output import existing_path, json_option, print_json

MOST_SHOWN = 20


@click.group()
def ranges() -> None:
    """Merge and compare the range tables (ranges.json) of one model; `calibrate --ranges` uses them again."""


@ranges.command()
@click.argument("tables", type=existing_path, nargs=-1, required=True)
@click.option("--out", type=existing_path, required=True, help="The merged ranges.json.")
@json_option
def merge(tables: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Write the union of TABLES, which several devices found for the same model."""
    from ..calibration.table import load_table, merge_tables

    merged = merge_tables([load_table(path) for path in tables])
    merged.save(out)
    if as_json:
        print_json({"out": str(out), "tables": len(tables), "tensors": len(merged.ranges), "model": merged.model, "digest": merged.digest})
    else:
        click.echo(f"{len(tables)} tables of {len(merged.ranges)} tensors merged into {out}")


@ranges.command()
@click.argument("old", type=existing_path)
@click.argument("new", type=existing_path)
@click.option("--max-drift", type=click.FloatRange(0, 1), help="Fail when a tensor drifted further: 0 = unchanged, 1 = nothing in common.")
@json_option
def compare(old: Path, new: Path, max_drift: float | None, as_json: bool) -> None:
    """How far the ranges of NEW moved from OLD's: 1 − overlap/union of each tensor's two intervals."""
    from ..calibration.table import drift, load_table
    from ..core.errors import Rejected

    before, after = load_table(old), load_table(new)
    moved = sorted(drift(before, after).items(), key=lambda entry: (-entry[1], entry[0]))
    largest = moved[0][1] if moved else 0.0
    if as_json and (max_drift is None or largest <= max_drift):
        print_json(
            {
                "largest": largest,
                "tensors": [{"name": name, "drift": share} for name, share in moved],
                "only_old": sorted(before.ranges.keys() - after.ranges.keys()),
                "only_new": sorted(after.ranges.keys() - before.ranges.keys()),
            }
        )
    elif not as_json:
        for name, share in moved[:MOST_SHOWN]:
            click.echo(f"{share:6.3f}  {name}")
        click.echo(f"largest drift {largest:.3f} of {len(moved)} tensors")
    if max_drift is not None and largest > max_drift:
        raise Rejected("ranges-drifted", f"{moved[0][0]!r} drifted by {largest:.3f}, more than {max_drift:g}", "Calibrate again on present samples")
