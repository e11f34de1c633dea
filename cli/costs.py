"""``edgewright costs``: what searches measured on this device, for identical ones."""

from __future__ import annotations

from pathlib import Path

import click

from .output import backend_option, existing_path, json_option, print_json, print_table, threads_option

_cache_folder = click.option(
    "--cache", type=click.Path(path_type=Path, file_okay=False), help="The cache: an agent's is cache/ in its state folder. Default: this user's."
)


@click.group()
def costs() -> None:
    """List, export and import what `optimize` has measured of single layers; identical devices need not measure it again."""


@costs.command("list")
@_cache_folder
@json_option
def list_costs(cache: Path | None, as_json: bool) -> None:
    """The tables in the cache, by the fingerprint of what they hold for."""
    from ..pipeline.pricing import kept_sheets
    from ..pipeline.workshop import user_cache

    sheets = list(kept_sheets(cache or user_cache()))
    if as_json:
        print_json({"tables": [{"device": sheet.device, "costs": len(sheet.costs), "digest": sheet.digest} for sheet in sheets]})
    else:
        print_table(["device", "costs"], [[sheet.device, str(len(sheet.costs))] for sheet in sheets])


@costs.command("export")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write.")
@click.option("--energy", is_flag=True, help="The table of searches for the least energy.")
@backend_option
@threads_option
@_cache_folder
@json_option
def export_costs(out: Path, energy: bool, backend: str | None, threads: int, cache: Path | None, as_json: bool) -> None:
    """Write what this device has measured for one backend and a number of threads."""
    from ..core.errors import Rejected
    from ..core.files import write_atomic
    from ..engines.discovery import usable_backend
    from ..pipeline.pricing import table_here
    from ..pipeline.workshop import user_cache

    table = table_here(cache or user_cache(), usable_backend(backend)[0], threads, with_energy=energy)
    if not len(table):
        raise Rejected(
            "costs-missing", "nothing was measured here for that", "Run optimize with --search-seconds first; costs list shows what there is"
        )
    sheet = table.sheet
    write_atomic(out, sheet.encode())
    if as_json:
        print_json({"out": str(out), "device": sheet.device, "costs": len(sheet.costs), "digest": sheet.digest})
    else:
        click.echo(f"{len(sheet.costs)} costs written to {out}")


@costs.command("import")
@click.argument("file", type=existing_path)
@_cache_folder
@json_option
def import_costs(file: Path, cache: Path | None, as_json: bool) -> None:
    """Take what an identical device has exported; what was measured here stays."""
    from ..compression.search.costs import read_sheet
    from ..pipeline.pricing import take_sheet
    from ..pipeline.workshop import user_cache

    sheet = read_sheet(file)
    new = take_sheet(cache or user_cache(), sheet)
    if as_json:
        print_json({"device": sheet.device, "costs": len(sheet.costs), "new": new, "digest": sheet.digest})
    else:
        click.echo(f"{new} of {len(sheet.costs)} costs were new")
