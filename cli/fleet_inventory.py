"""``edgewright fleet devices``, ``label`` and ``audit``: looking for devices, naming them, and who did what."""

from __future__ import annotations

import time
from pathlib import Path

import click

from .fleet_report import ago, printable
from .fleet_state import fleet_database, fleet_paths, state_option
from .output import json_option, print_json, print_table


@click.command()
@state_option
@click.option("--search", "text", default="", help="Part of a name, a hardware class or a label's value.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Devices with this label; several must all fit.")
@click.option("--class", "hardware_class", help="Devices of this hardware class.")
@click.option("--online/--offline", "online", default=None, help="Devices that are, or are not, connected.")
@click.option("--retired", is_flag=True, help="Devices that have left the fleet.")
@click.option("--limit", type=click.IntRange(1, 1000), default=1000, show_default=True, help="At most so many.")
@click.option("--after", default="", help="Go on behind this name.")
@json_option
def devices(
    state: Path,
    text: str,
    labels: tuple[str, ...],
    hardware_class: str | None,
    online: bool | None,
    retired: bool,
    limit: int,
    after: str,
    as_json: bool,
) -> int:
    """What the devices last said."""
    with fleet_database(fleet_paths(state)) as database:
        from ..controller.inventory import DeviceQuery, Inventory, parse_labels
        from ..controller.reports import Reports

        query = DeviceQuery(text=text, labels=parse_labels(labels), hardware_class=hardware_class, online=online, retired=retired)
        page = Inventory(database).search(query, after=after, limit=limit)
        views = {view.name: view for view in Reports(database).devices([device.name for device in page.devices])}
    if as_json:
        entries = [{"labels": device.labels, "hardware_class": device.hardware_class, **_fields(views[device.name])} for device in page.devices]
        print_json({"devices": entries, "total": page.total})
        return 0
    rows = []
    for device in page.devices:
        view = views[device.name]
        models = view.reported.models if view.reported else {}
        running = ", ".join(f"{name} {report.active.version}" for name, report in models.items() if report.active) or "–"
        named = " ".join(f"{key}={value}" for key, value in device.labels.items()) or "–"
        presence = "retired" if device.retired_s is not None else "online" if device.online else "offline"
        rows.append([device.name, presence, ago(device.seen_s), printable(device.hardware_class or "–"), named, printable(running)])
    print_table(["device", "state", "seen", "class", "labels", "runs"], rows)
    if page.total > len(page.devices):
        click.echo(f"{len(page.devices)} of {page.total}; --after {page.devices[-1].name if page.devices else after} shows the next")
    return 0


def _fields(view: object) -> dict[str, object]:
    import msgspec

    fields: dict[str, object] = msgspec.to_builtins(view)
    return fields


@click.command()
@click.argument("device")
@click.argument("labels", nargs=-1, metavar="[KEY=VALUE]...")
@state_option
@click.option("--remove", "removed", multiple=True, metavar="KEY", help="A label to take away; may be repeated.")
@json_option
def label(device: str, labels: tuple[str, ...], state: Path, removed: tuple[str, ...], as_json: bool) -> int:
    """Set labels of DEVICE, or take them away."""
    from ..controller.audit import person_here

    with fleet_database(fleet_paths(state)) as database:
        from ..controller.inventory import Inventory, parse_labels

        changes: dict[str, str | None] = {**dict.fromkeys(removed), **parse_labels(labels)}
        found = Inventory(database).set_labels(device, changes, person_here(), time.time())
    if as_json:
        print_json({"device": device, "labels": found})
    else:
        click.echo(f"{device}  {' '.join(f'{key}={value}' for key, value in found.items()) or 'no labels'}")
    return 0


@click.command()
@click.argument("subject", required=False)
@state_option
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many, the latest first.")
@json_option
def audit(subject: str | None, state: Path, limit: int, as_json: bool) -> int:
    """Who did what; SUBJECT = a rollout, a device, a token."""
    with fleet_database(fleet_paths(state)) as database:
        from ..controller.audit import AuditLog

        entries = AuditLog(database).entries(subject, limit=limit)
    if as_json:
        print_json({"entries": entries})
        return 0
    rows = [
        [time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry.time_s)), entry.actor, entry.action, entry.subject, printable(entry.detail)]
        for entry in entries
    ]
    print_table(["time (UTC)", "who", "did", "to", ""], rows)
    return 0
