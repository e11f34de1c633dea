"""``edgewright fleet deploy``, ``remove``, ``watch`` and ``report``: what shall be on the devices, and what came of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from .fleet_order import name_of, order_of, order_options
from .fleet_report import build_line, print_report, printable
from .fleet_state import devices_option, fleet_database, fleet_paths, selector_options, state_option, with_options
from .output import existing_path, json_option, print_json

WATCH_POLL_S = 0.2


@click.command()
@click.argument("model", type=existing_path)
@state_option
@order_options
@devices_option
@json_option
def deploy(model: Path, state: Path, name: str | None, names: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Send MODEL to devices; ``watch`` shows how it goes."""
    from ..controller.audit import person_here
    from ..controller.keys import fleet_name

    paths = fleet_paths(state)
    model_name = name_of(model, name)
    with fleet_database(paths) as database:
        from ..controller.blobs import BlobStore
        from ..controller.orders import Orders
        from ..controller.shortcuts import with_shortcuts

        orders = Orders(database, fleet_name(paths))
        order = order_of(paths, model, model_name, **options)
        order = with_shortcuts(order, orders.goals(model_name, names), BlobStore(paths.blobs))
        orders.deploy(model_name, order, names, time.time(), person_here())
    if as_json:
        print_json({"deployment": order.deployment, "model": model_name, "version": order.version})
    else:
        click.echo(f"{order.deployment}: edgewright fleet watch {order.deployment}")
    return 0


@click.command()
@click.argument("model")
@state_option
@with_options(selector_options)
@json_option
def remove(model: str, state: Path, names: tuple[str, ...], labels: tuple[str, ...], hardware_class: str | None, as_json: bool) -> int:
    """Take MODEL from devices; without a choice from all of them."""
    from ..controller.audit import person_here
    from ..controller.keys import fleet_name

    paths = fleet_paths(state)
    with fleet_database(paths) as database:
        from ..controller.inventory import Inventory, Selector, parse_labels
        from ..controller.orders import Orders

        if labels or hardware_class is not None:
            selector = Selector(devices=tuple(dict.fromkeys(names)), labels=parse_labels(labels), hardware_class=hardware_class)
            names = tuple(member.device for member in Inventory(database).selected(selector))
        count = Orders(database, fleet_name(paths)).remove(model, names, time.time(), person_here())
    if as_json:
        print_json({"model": model, "devices": count})
    else:
        click.echo(f"{model}: taken from the goal of {count} devices")
    return 0


@click.command()
@click.argument("deployment", default="latest")
@state_option
@click.option("--timeout", "timeout_s", type=click.FloatRange(0), default=0.0, help="Give up after this many seconds; 0 = never.")
@json_option
def watch(deployment: str, state: Path, timeout_s: float, as_json: bool) -> int:
    """Follow DEPLOYMENT until it is over on every device; exits 0 when it succeeded on all."""
    deadline = time.monotonic() + timeout_s if timeout_s else None
    with fleet_database(fleet_paths(state)) as database:
        from ..controller.reports import Reports

        reports = Reports(database)
        identity, seen = reports.deployment(deployment).deployment, 0
        told: dict[str, str] = {}
        while True:
            for number_seen, event in reports.events(identity, seen):
                seen = max(seen, number_seen)
                why = f": {event.reason.line()}" if event.reason else ""
                line = f"{time.strftime('%H:%M:%S', time.localtime(event.time_s))}  {event.device}  {event.state}{why}"
                click.echo(printable(line), err=as_json)
            view = reports.deployment(identity)
            for target in view.devices:
                line = build_line(target)
                if line and told.get(target.device) != line:
                    told[target.device] = line
                    click.echo(printable(f"{time.strftime('%H:%M:%S')}  {target.device}  {target.state}{line}"), err=as_json)
            is_late = deadline is not None and time.monotonic() > deadline
            if all(target.is_over for target in view.devices) or is_late:
                break
            time.sleep(WATCH_POLL_S)
    if as_json:
        print_json(view)
    elif is_late:
        click.echo("edgewright: gave up waiting; the deployment goes on", err=True)
    return 0 if all(target.state == "SUCCEEDED" for target in view.devices) else 1


@click.command()
@click.argument("deployment", default="latest")
@state_option
@json_option
def report(deployment: str, state: Path, as_json: bool) -> int:
    """What DEPLOYMENT came to: FP32 beside the chosen engine, for each device."""
    with fleet_database(fleet_paths(state)) as database:
        from ..controller.reports import Reports

        view = Reports(database).deployment(deployment)
    if as_json:
        print_json(view)
    else:
        print_report(view)
    return 0
