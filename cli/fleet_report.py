"""What people read of a fleet: a deployment's report, FP32 beside the chosen engine for each device."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from .output import number, percent, print_table, size

if TYPE_CHECKING:
    from ..controller.reports import DeploymentView, TargetView

REPORT_COLUMNS = ["device", "engine", "size", "top-1", "agree", "SQNR", "p50 ms", "p99 ms", "per s", "mW", "mJ"]


def print_report(view: DeploymentView) -> None:
    """One line per device and state, and one table with a row per device and engine."""
    rows = [row for target in view.devices for row in report_rows(target)]
    for target in view.devices:
        why = f": {target.reason.line()}" if target.reason else ""
        click.echo(printable(f"{target.device}  {target.state or 'not heard of yet'}{build_line(target)}{why}"))
    if rows:
        print_table(REPORT_COLUMNS, rows)
    for reason in sorted({row.energy_reason for row in _candidates(view) if row.energy_reason}):
        click.echo(printable(f"energy: {reason}"))


def report_rows(target: TargetView) -> list[list[str]]:
    """The FP32 row and the chosen engine's row of one device."""
    if target.measurement is None:
        return []
    rows: list[list[str]] = []
    for candidate in (target.measurement.baseline, target.measurement.chosen):
        if candidate is None or (rows and candidate.name == rows[0][1]):
            continue
        fidelity, latency, energy = candidate.fidelity, candidate.latency_ms, candidate.energy_mj
        is_reference = candidate.name == "fp32"
        rows.append(
            [
                target.device,
                candidate.name,
                size(candidate.size_bytes),
                percent(fidelity.top1 if fidelity else None),
                "–" if is_reference else percent(fidelity.agreement if fidelity else None),
                "–" if is_reference else number(fidelity.sqnr_db if fidelity else None, "dB", 1),
                number(latency.p50 if latency else None, digits=3),
                number(latency.p99 if latency else None, digits=3),
                number(latency.throughput_per_s if latency else None, digits=0),
                number(energy.power_mw if energy else None, digits=0),
                number(energy.mean if energy else None),
            ]
        )
    return rows


def build_line(target: TargetView) -> str:
    """How far the build on a device is, after its state; empty where none is under way."""
    return "" if target.progress is None else f" {100 * target.progress:.0f} %, {target.progress_note}"


def _candidates(view: DeploymentView) -> list[Any]:
    measured = [target.measurement for target in view.devices if target.measurement is not None]
    return [candidate for entry in measured for candidate in (entry.baseline, entry.chosen) if candidate is not None]


def printable(line: str) -> str:
    """`line` without what would steer a terminal: devices wrote parts of it."""
    return "".join(character if character.isprintable() else "�" for character in line)


def ago(seen_s: float | None) -> str:
    """How long `seen_s` is past, in words."""
    if seen_s is None:
        return "never"
    seconds = max(0.0, time.time() - seen_s)
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago" if seconds < 7200 else f"{seconds / 3600:.0f} h ago"
