"""``edgewright fleet``: the controller. ``serve`` runs it; every other command works on its state folder and needs no network."""

from __future__ import annotations

from pathlib import Path

import click

from .fleet_commands import cancel, release, rollback
from .fleet_dashboard import dashboard
from .fleet_deploy import deploy, remove, report, watch
from .fleet_enroll import enroll, renew, retire, revoke, wipe
from .fleet_export import export
from .fleet_inventory import audit, devices, label
from .fleet_keys import keys
from .fleet_look import compare, deployments, overview, show
from .fleet_profile import profile
from .fleet_rollout import approve, pause, resume, retry, rollout, rollout_again, rollouts
from .fleet_state import fleet_paths, state_option
from .fleet_tokens import tokens
from .fleet_update import update_agent
from .output import existing_path, json_option


@click.group()
def fleet() -> None:
    """The fleet's controller: keys, devices, deployments."""


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
@click.option("--tls-port", type=click.IntRange(1, 65535), help="Let devices on other machines connect on this port, by their certificates.")
@click.option("--tls-host", "tls_hosts", multiple=True, help="Name or address that devices reach it by; may be repeated, the first is theirs.")
@click.option("--tls-bind", default="", help="Local address to listen on; default: all.")
@json_option
def serve(
    state: Path, broker: str, port: int, ca: Path | None, tls_port: int | None, tls_hosts: tuple[str, ...], tls_bind: str, as_json: bool
) -> int:
    """Run the controller until it is stopped; prints one line when it is ready."""
    from ..core.errors import Unfit

    paths = fleet_paths(state)
    try:
        from ..controller.broker import TlsListener
        from .serving import serve_fleet
    except ImportError as error:
        hint = "pip install 'edgewright[controller]'"
        raise Unfit("controller-missing", "the controller's libraries are not installed", hint) from error
    if (tls_port is None) != (not tls_hosts):
        raise click.UsageError("--tls-port and --tls-host go together")
    tls = None if tls_port is None else TlsListener(tls_port, tls_hosts, tls_bind)
    return serve_fleet(paths, broker, port, ca, tls, as_json=as_json)


COMMANDS = (
    dashboard, overview, show, deployments, compare, export,
    keys, enroll, renew, revoke, retire, wipe, devices, label, tokens, deploy, rollout, rollout_again, rollouts, approve, pause, resume, cancel,
    retry, rollback, release, remove, update_agent, watch, report, profile, audit,
)  # fmt: skip
for command in COMMANDS:
    fleet.add_command(command)
