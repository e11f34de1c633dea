"""``edgewright fleet enroll``, ``renew``, ``revoke``, ``wipe`` and ``retire``: how a device comes to the fleet, stays in it and leaves it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .fleet_state import fleet_database, fleet_paths, state_option
from .output import existing_path, json_option, print_json

if TYPE_CHECKING:
    from ..controller.database import Database
    from ..controller.orders import Orders
    from ..controller.paths import FleetPaths


@click.command()
@click.argument("device")
@state_option
@click.option("--out", type=existing_path, required=True, help="Folder to write agent.toml, its login and trust/ to.")
@click.option("--host", help="The broker's host as the device sees it; default: the one that was served last.")
@click.option("--port", type=click.IntRange(1, 65535), help="The broker's port; default: the one that was served last.")
@click.option("--device-state", type=click.Path(path_type=Path), help="The agent's state folder; default: /var/lib/edgewright.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label to give it; may be repeated.")
@json_option
def enroll(
    device: str, state: Path, out: Path, host: str | None, port: int | None, device_state: Path | None, labels: tuple[str, ...], as_json: bool
) -> int:
    """Enroll DEVICE, or replace it: write the folder that its agent starts from. A login that it had is good no more."""
    with _fleet(state) as (paths, database, orders):
        from ..controller.audit import person_here
        from ..controller.enrollment import Address, read_address
        from ..controller.enrollment import enroll as run
        from ..controller.inventory import Inventory, parse_labels
        from ..controller.keys import fleet_name

        wanted = parse_labels(labels)
        served = read_address(paths) or Address("127.0.0.1", 1883)
        address = Address(host or served.host, port or served.port, served.ca, served.has_certificates)
        run(paths, orders, fleet_name(paths), device, out, address, None if device_state is None else device_state.resolve())
        _note(database, "device.enroll", device)
        if wanted:
            Inventory(database).set_labels(device, wanted, person_here(), time.time())
    if as_json:
        print_json({"device": device, "config": str(out.resolve() / "agent.toml"), "host": address.host, "port": address.port})
    else:
        click.echo(f"enrolled {device}: copy {out} to it, then edgewright agent run --config {out / 'agent.toml'}")
    return 0


@click.command()
@click.argument("device")
@state_option
@click.option("--out", type=existing_path, required=True, help="Folder to write device.pem and device.key to.")
@json_option
def renew(device: str, state: Path, out: Path, as_json: bool) -> int:
    """Make a new certificate for DEVICE; the one that it has stays good until it expires."""
    with _fleet(state) as (paths, database, orders):
        from ..controller.enrollment import renew as run
        from ..controller.keys import fleet_name

        run(paths, orders, fleet_name(paths), device, out)
        _note(database, "device.renew", device)
    if as_json:
        print_json({"device": device, "out": str(out.resolve())})
    else:
        click.echo(f"{device}: put {out}/device.pem and device.key in the place of its own, and restart its agent")
    return 0


@click.command()
@click.argument("device")
@state_option
@json_option
def revoke(device: str, state: Path, as_json: bool) -> int:
    """Take the access of DEVICE: its certificate or password is good no more, and a connection that it has ends. It stays enrolled."""
    with _fleet(state) as (paths, database, orders):
        from ..controller.enrollment import take_access

        take_access(paths, device, orders.certificates(device, must_exist=True))
        _note(database, "device.revoke", device)
    if as_json:
        print_json({"device": device, "revoked": True})
    else:
        click.echo(f"{device} cannot connect any more; edgewright fleet enroll {device} gives it a new login")
    return 0


@click.command()
@click.argument("device")
@state_option
@json_option
def wipe(device: str, state: Path, as_json: bool) -> int:
    """Take every model from DEVICE, and let it erase what it has made and measured."""
    with _fleet(state) as (_, _database, orders):
        from ..controller.audit import person_here

        count, number = orders.wipe(device, time.time(), person_here())
    if as_json:
        print_json({"device": device, "models": count, "wipe": number})
    else:
        click.echo(
            f"{device}: {count} models and all caches are taken from it when it connects; then it reports `wiped` {number}: fleet devices --json"
        )
    return 0


@click.command()
@click.argument("device")
@state_option
@json_option
def retire(device: str, state: Path, as_json: bool) -> int:
    """Let DEVICE leave the fleet: it has no access and no goal any more, and no order means it. Its history stays."""
    with _fleet(state) as (paths, _database, orders):
        from ..controller.audit import person_here
        from ..controller.enrollment import take_access

        take_access(paths, device, orders.certificates(device, must_exist=True))
        orders.retire(device, time.time(), person_here())
    if as_json:
        print_json({"device": device, "retired": True})
    else:
        click.echo(f"{device} has left the fleet")
    return 0


@contextmanager
def _fleet(state: Path) -> Iterator[tuple[FleetPaths, Database, Orders]]:
    paths = fleet_paths(state)
    with fleet_database(paths) as database:
        from ..controller.keys import fleet_name
        from ..controller.orders import Orders

        yield paths, database, Orders(database, fleet_name(paths))


def _note(database: Database, action: str, device: str) -> None:
    from ..controller.audit import note, person_here

    with database.transaction() as session:
        note(session, person_here(), action, device, time.time())
