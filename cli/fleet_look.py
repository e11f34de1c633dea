"""``edgewright fleet overview``, ``show``, ``deployments`` and ``compare``: what the page shows, on a terminal and for scripts."""

from __future__ import annotations

import time
from pathlib import Path

import click

from .fleet_report import ago, printable
from .fleet_state import fleet_database, fleet_paths, state_option
from .output import json_option, number, percent, print_json, print_table, size

limit_option = click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")


@click.command()
@state_option
@json_option
def overview(state: Path, as_json: bool) -> int:
    """The whole fleet at one look: who is there, how far the models are, and why devices refused."""
    with fleet_database(fleet_paths(state)) as database:
        from ..controller.overview import Overview

        view = Overview(database).look(time.time())
    if as_json:
        print_json(view)
        return 0
    states = ", ".join(f"{entry.goals} {entry.state or 'not heard of yet'}" for entry in view.states) or "nothing is deployed"
    click.echo(f"{view.devices} devices, {view.online} online, {view.never_seen} never seen; models: {states}")
    print_table(
        ["class", "devices", "online"], [[printable(entry.hardware_class or "–"), str(entry.devices), str(entry.online)] for entry in view.classes]
    )
    rows = [[entry.code, str(entry.devices), entry.family, printable(entry.message), printable(entry.next)] for entry in view.refusals]
    if rows:
        print_table(["refused", "devices", "whose fault", "why", "what to do"], rows, text="why")
    return 0


@click.command()
@click.argument("device")
@state_option
@click.option("--events", "count", type=click.IntRange(1, 1000), default=20, show_default=True, help="So many of its latest state changes.")
@json_option
def show(device: str, state: Path, count: int, as_json: bool) -> int:
    """What DEVICE runs, what it shall run, why not, and what has happened on it."""
    with fleet_database(fleet_paths(state)) as database:
        from ..controller.history import DeviceHistory

        history = DeviceHistory(database)
        view, events, telemetry = history.detail(device), history.events(device, limit=count), history.telemetry(device, limit=1)
        commands = history.commands(device)
    if as_json:
        print_json({"device": view, "events": events, "commands": commands, "telemetry": telemetry[-1] if telemetry else None})
        return 0
    labels = " ".join(f"{key}={value}" for key, value in view.labels.items())
    presence = "retired" if view.retired_s is not None else "online" if view.online else "offline"
    click.echo(printable(f"{view.name}  {presence}, seen {ago(view.seen_s)}  {view.hardware_class or 'class not known'}  {labels}"))
    for goal in view.goals:
        report = view.reported.models.get(goal.model) if view.reported else None
        runs = f"runs {report.active.version} by {report.active.backend}" if report and report.active else "runs nothing"
        why = f": {goal.reason.line()}" if goal.reason else ""
        click.echo(printable(f"  {goal.model}  shall be {goal.version}, {runs}  {goal.state or 'not heard of yet'}{why}"))
    for problem in view.reported.problems if view.reported else ():
        click.echo(printable(f"  problem: {problem.line()}"))
    rows = [[time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(event.time_s)), event.model, event.state, event.deployment] for event in events]
    if rows:
        print_table(["time (UTC)", "model", "state", "deployment"], rows)
    return 0


@click.command()
@state_option
@limit_option
@click.option("--after", default="", help="Go on behind this deployment.")
@json_option
def deployments(state: Path, limit: int, after: str, as_json: bool) -> int:
    """The deployments, the latest first, and how many devices are in which state."""
    with fleet_database(fleet_paths(state)) as database:
        from ..controller.deployments import Deployments

        found = Deployments(database).all(after=after, limit=limit)
    if as_json:
        print_json({"deployments": found})
        return 0
    rows = [
        [
            one.deployment,
            one.model,
            printable(one.version),
            ", ".join(f"{entry.goals} {entry.state or '–'}" for entry in one.states),
            ago(one.created_s),
        ]
        for one in found
    ]
    print_table(["deployment", "model", "version", "devices", "begun"], rows)
    return 0


@click.command()
@click.argument("deployment", default="latest")
@state_option
@click.option("--state-is", "states", multiple=True, metavar="STATE", help="List its devices in this state, with their reasons; may be repeated.")
@limit_option
@click.option("--after", default="", help="Go on behind this device.")
@json_option
def compare(deployment: str, state: Path, states: tuple[str, ...], limit: int, after: str, as_json: bool) -> int:
    """FP32 beside the chosen engines of DEPLOYMENT by hardware class, every engine that was measured, and who refused."""
    with fleet_database(fleet_paths(state)) as database:
        from ..controller.comparison import Comparison
        from ..controller.deployments import Deployments

        known, comparison = Deployments(database), Comparison(database)
        detail = known.detail(deployment)
        engines, measured = comparison.of_deployment(detail.deployment), comparison.points(detail.deployment)
        targets = known.targets(detail.deployment, states=states, after=after, limit=limit) if states else []
    if as_json:
        print_json({"deployment": detail, "engines": engines, "measured": measured, "devices": targets})
        return 0
    rows = [
        [
            printable(one.hardware_class or "–"),
            one.engine,
            str(one.devices),
            number(one.latency_p50_ms),
            number(one.latency_p99_ms),
            number(one.energy_mj),
            "–" if one.size_bytes is None else size(int(one.size_bytes)),
            percent(one.top1),
            percent(one.agreement),
            number(one.sqnr_db, digits=1),
        ]
        for one in engines
    ]
    print_table(["class", "engine", "devices", "p50 ms", "p99 ms", "mJ", "size", "top-1", "agree", "SQNR"], rows)
    for refusal in detail.refusals:
        click.echo(printable(f"{refusal.devices} devices, as {refusal.example}: {refusal.message}. {refusal.next}"))
    for target in targets:
        click.echo(printable(f"{target.device}  {target.state or 'not heard of yet'}{': ' + target.reason.line() if target.reason else ''}"))
    return 0
