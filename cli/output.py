"""What commands share: options, JSON on stdout, progress and tables on stderr or a terminal."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from ..core.errors import Reason, Rejected
from ..core.measurement import Candidate, Latency

F = TypeVar("F", bound=Callable[..., Any])

existing_path = click.Path(exists=False, path_type=Path)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout; progress goes to stderr.")
calibration_option = click.option("--calibration", type=existing_path, help="Samples to calibrate with: images, .npz or a folder of .npy.")
evaluation_option = click.option("--evaluation", type=existing_path, help="Samples to measure fidelity on; default: the calibration samples.")
out_option = click.option("--out", type=existing_path, required=True, help="Where to write the result.")
backend_option = click.option("--backend", help="Runtime to build for; default: the best usable one.")
threads_option = click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="Threads of the runtime.")
batch_option = click.option("--batch", type=click.IntRange(1, 4096), default=1, show_default=True, help="Samples per inference.")
cache_option = click.option("--no-cache", is_flag=True, help="Make everything anew, and keep nothing for the next run.")
seconds_option = click.option("--seconds", type=click.FloatRange(0.05, 86400), default=2.0, show_default=True, help="How long to measure.")


def print_json(value: object) -> None:
    """One object on stdout."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
    sys.stdout.flush()


def print_failure(reason: Reason, *, as_json: bool) -> None:
    """The one-line reason on stderr, and below it what it tells to write into a file; with `as_json` that is in the object on stdout instead."""
    first, _, rest = reason.line().partition("\n")
    click.echo(f"edgewright: {first} [{reason.code}]", err=True)
    if rest and not as_json:
        click.echo(rest, err=True)
    if as_json:
        print_error(reason)


def print_error(reason: Reason) -> None:
    print_json({"error": {"code": reason.code, "message": reason.message, "next": reason.next}})


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float, str], None]]:
    """A progress bar on stderr when it is a terminal; yields ``progress(share, note)``."""
    if not sys.stderr.isatty():
        yield lambda _share, _note: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=1.0, note="")
        yield lambda share, note: bar.update(task, completed=share, note=note)


def prepare_out(out: Path) -> Path:
    """The output folder, made if it is missing.

    Raises:
        Rejected: ``out-not-empty``, ``out-not-folder`` or ``out-unwritable``: nothing that exists is overwritten.
    """
    if out.exists() and not out.is_dir():
        raise Rejected("out-not-folder", f"{out} is a file", "Give --out a new folder")
    try:
        if out.is_dir() and any(out.iterdir()):
            raise Rejected("out-not-empty", f"{out} is not empty", "Give --out a new or empty folder")
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "Give --out a folder that this user may write"
        raise Rejected("out-unwritable", f"{out} cannot be made: {error.strerror}", hint) from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise Rejected("out-unwritable", f"{out} cannot be written", "Give --out a folder that this user may write")
    return out.resolve()


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """As `prepare_out`; when what follows fails, by Ctrl-C and SIGTERM too, everything that it left there goes away again."""
    was_there = out.is_dir()
    folder = prepare_out(out)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield folder
    except BaseException:
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
        if not was_there:
            folder.rmdir()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def number(value: float | None, unit: str = "", digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f} {unit}".rstrip()


def size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.2f} MB" if size_bytes >= 100_000 else f"{size_bytes / 1e3:.1f} kB"


def latency_line(latency: Latency) -> str:
    parts = [f"mean {latency.mean:.3f} ms"]
    parts += [f"{name} {value:.3f}" for name, value in (("p50", latency.p50), ("p90", latency.p90), ("p99", latency.p99)) if value is not None]
    return ", ".join(parts) + f" ({latency.samples} calls)"


def candidate_rows(candidates: tuple[Candidate, ...], chosen: Candidate | None) -> list[list[str]]:
    """One row per candidate: what a person compares."""
    rows = []
    for candidate in candidates:
        fidelity, latency, is_reference = candidate.fidelity, candidate.latency_ms, candidate.name == "fp32"
        mark = " ✓" if chosen is not None and candidate.name == chosen.name else ""
        rows.append(
            [
                candidate.name + mark,
                size(candidate.size_bytes),
                percent(fidelity.top1 if fidelity else None),
                "–" if is_reference else percent(fidelity.agreement if fidelity else None),
                "–" if is_reference else number(fidelity.sqnr_db if fidelity else None, "dB", 1),
                number(latency.p50 if latency else None, digits=3),
                number(latency.p99 if latency else None, digits=3),
                number(latency.throughput_per_s if latency else None, digits=0),
                number(candidate.energy_mj.mean if candidate.energy_mj else None),
            ]
        )
    return rows


CANDIDATE_COLUMNS = ["engine", "size", "top-1", "agree", "SQNR", "p50 ms", "p99 ms", "per s", "mJ"]


WIDE = 200


def print_table(columns: list[str], rows: list[list[str]], title: str | None = None, *, text: str | None = None) -> None:
    """A table on stdout; the column `text` holds words. A file or a pipe gets it at full width; a terminal folds what does not fit."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 or column == text else "right", no_wrap=index == 0, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)
