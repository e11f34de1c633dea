"""``edgewright fleet``: the controller. ``serve`` runs it; every other command works on its state folder and needs no network."""

from __future__ import annotations

from pathlib import Path

import click

from .fleet_commands import cancel, release, rollback
from .fleet_deploy import deploy, remove, report, watch
from .fleet_inventory import audit, devices, label
from .fleet_profile import profile
from .fleet_rollout import approve, pause, resume, retry, rollout, rollouts
from .fleet_state import fleet_database, fleet_paths, state_option
from .output import existing_path, json_option, print_json


@click.group()
def fleet() -> None:
    """The fleet's controller: keys, devices, deployments."""


@fleet.group()
def keys() -> None:
    """The fleet's keys."""


@keys.command("init")
@state_option
@click.option("--fleet", "name", default="fleet", show_default=True, help="The fleet's name: a-z, 0-9 and -.")
@json_option
def keys_init(state: Path, name: str, as_json: bool) -> int:
    """Make the keys and the trust anchor of a new fleet."""
    import datetime as dt

    from ..controller.keys import init_keys
    from ..controller.paths import FleetPaths

    paths = FleetPaths(state.resolve())
    init_keys(paths, name, dt.datetime.now(dt.timezone.utc).replace(microsecond=0))
    if as_json:
        print_json({"fleet": name, "keys": str(paths.keys), "trust": str(paths.trust)})
    else:
        click.echo(f"made the keys of {name} in {paths.keys}; keep root, targets and engines away from the network")
    return 0


@fleet.command()
@state_option
@click.option(
    "--broker",
    default="auto",
    envvar="EDGEWRIGHT_BROKER",
    show_default=True,
    show_envvar=True,
    help="auto, mosquitto, amqtt, or mqtt[s]://USER:PASSWORD@HOST:PORT.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=1883, show_default=True, help="Port of our own broker; 0 takes a free one.")
@click.option("--ca", type=existing_path, help="CA certificate of an mqtts:// broker.")
@json_option
def serve(state: Path, broker: str, port: int, ca: Path | None, as_json: bool) -> int:
    """Run the controller until it is stopped; prints one line when it is ready."""
    from ..core.errors import Unfit

    paths = fleet_paths(state)
    try:
        from .serving import serve_fleet
    except ImportError as error:
        hint = "pip install 'edgewright[controller]'"
        raise Unfit("controller-missing", "the controller's libraries are not installed", hint) from error
    return serve_fleet(paths, broker, port, ca, as_json=as_json)


@fleet.command()
@click.argument("device")
@state_option
@click.option("--out", type=existing_path, required=True, help="Folder to write agent.toml, password and trust/ to.")
@click.option("--host", help="The broker's host as the device sees it; default: the one that was served last.")
@click.option("--port", type=click.IntRange(1, 65535), help="The broker's port; default: the one that was served last.")
@click.option("--device-state", type=click.Path(path_type=Path), help="The agent's state folder; default: /var/lib/edgewright.")
@json_option
def enroll(device: str, state: Path, out: Path, host: str | None, port: int | None, device_state: Path | None, as_json: bool) -> int:
    """Enroll DEVICE: write the folder that its agent starts from."""
    paths = fleet_paths(state)
    with fleet_database(paths) as database:
        from ..controller.enrollment import Address, read_address
        from ..controller.enrollment import enroll as run
        from ..controller.keys import fleet_name
        from ..controller.orders import Orders

        name = fleet_name(paths)
        served = read_address(paths) or Address("127.0.0.1", 1883)
        address = Address(host or served.host, port or served.port, served.ca)
        run(paths, Orders(database, name), name, device, out, address, None if device_state is None else device_state.resolve())
    if as_json:
        print_json({"device": device, "config": str(out.resolve() / "agent.toml"), "host": address.host, "port": address.port})
    else:
        click.echo(f"enrolled {device}: copy {out} to it, then edgewright agent run --config {out / 'agent.toml'}")
    return 0


COMMANDS = (
    devices, label, deploy, rollout, rollouts, approve, pause, resume, cancel, retry, rollback, release, remove, watch, report, profile, audit,
)  # fmt: skip
for command in COMMANDS:
    fleet.add_command(command)
