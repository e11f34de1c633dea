"""``edgewright fleet profile``: ask a device for a profile, wait for it, and show or draw it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .fleet_report import printable
from .fleet_state import fleet_database, fleet_paths, state_option
from .output import json_option, latency_line, number, print_json, print_table

if TYPE_CHECKING:
    from ..controller.database import Database
    from ..core.profile import Profile, ProfileReport, ScenarioName

POLL_S = 0.2


@click.command()
@click.argument("device")
@state_option
@click.option("--model", help="A model that runs on the device; default: whatever runs there now is only watched.")
@click.option(
    "--scenario",
    type=click.Choice(["single-stream", "multi-stream", "offline", "open-loop"]),
    default="single-stream",
    show_default=True,
    help="How calls come.",
)
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=10.0, show_default=True, help="How long to measure.")
@click.option("--streams", type=click.IntRange(1, 64), default=1, show_default=True, help="Calls side by side, where the scenario has them.")
@click.option("--rate", "rate_per_s", type=click.FloatRange(0.01, 100_000), default=10.0, show_default=True, help="Calls a second of the open loop.")
@click.option("--wait", "wait_s", type=click.FloatRange(0), default=600.0, show_default=True, help="Seconds to wait for the answer.")
@click.option("--command", "earlier", help="Show the answer to this earlier command instead of asking.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the power over time into this SVG file.")
@json_option
def profile(
    device: str,
    state: Path,
    model: str | None,
    scenario: ScenarioName,
    seconds: float,
    streams: int,
    rate_per_s: float,
    wait_s: float,
    earlier: str | None,
    plot: Path | None,
    as_json: bool,
) -> int:
    """Measure latency, energy and power over time on DEVICE, where it is."""
    from ..controller.audit import person_here
    from ..controller.keys import fleet_name
    from ..controller.orders import Orders
    from ..core.profile import ProfileOrder

    paths = fleet_paths(state)
    with fleet_database(paths) as database:
        command = earlier
        if command is None:
            order = ProfileOrder(model=model, scenario=scenario, seconds=seconds, streams=streams, rate_per_s=rate_per_s)
            command = Orders(database, fleet_name(paths)).ask_profile(device, order, time.time(), person_here())
            click.echo(f"asked {device}; edgewright fleet profile {device} --command {command} shows the answer later", err=True)
        report = _wait(database, command, wait_s)
    if report.profile is not None and plot is not None:
        _draw(report.profile, plot, device)
    if as_json:
        print_json({"command": command, "device": device, "report": report})
    elif report.profile is not None:
        _print(report.profile)
    else:
        click.echo(printable(f"{device}: {report.reason.line() if report.reason else 'no profile'}"), err=True)
    return 0 if report.profile is not None else 1


def _wait(database: Database, command: str, wait_s: float) -> ProfileReport:
    """The answer, or the device's refusal of the command as one.

    Raises:
        Unfit: ``profile-missing``: nothing came in time.
    """
    from ..controller.reports import Reports
    from ..core.errors import Unfit
    from ..core.profile import ProfileReport

    reports, deadline_s = Reports(database), time.monotonic() + wait_s
    while True:
        report, reply = reports.profile(command), reports.reply(command)
        if report is not None:
            return report
        if reply is not None and not reply.ok:
            return ProfileReport(command=command, reason=reply.reason)
        if time.monotonic() > deadline_s:
            raise Unfit("profile-missing", f"no answer to {command} has come", "Wait longer: the device answers when it is connected and idle")
        time.sleep(POLL_S)


def _draw(found: Profile, plot: Path, device: str) -> None:
    from ..core.errors import Unfit
    from ..core.files import write_atomic
    from ..core.trace import unpack_trace
    from ..profiling.plot import svg_of

    if found.trace is None:
        raise Unfit("trace-missing", f"the profile has no trace: {found.energy_reason}", "Leave out --plot")
    write_atomic(plot, svg_of(unpack_trace(found.trace), f"{device}: {found.order.model or 'what ran'}").encode())


def _print(found: Profile) -> None:
    if found.latency_ms is not None:
        click.echo(f"latency: {latency_line(found.latency_ms)}")
    if found.throughput_per_s is not None:
        click.echo(f"throughput: {number(found.throughput_per_s, 'calls/s', 1)}")
    energy = found.energy_mj
    if energy is None:
        click.echo(printable(f"energy: {found.energy_reason}"))
    else:
        net = "" if energy.net is None else f", {energy.net:.3f} mJ above idle"
        click.echo(printable(f"energy: {energy.mean:.3f} mJ gross, 95 % {energy.ci95[0]:.3f} to {energy.ci95[1]:.3f} ({energy.scope}){net}"))
        if energy.flags:
            click.echo(printable(f"flags: {', '.join(energy.flags)}"))
    if found.rails:
        print_table(["rail", "power"], [[printable(rail.label), number(rail.mean_mw, "mW", 0)] for rail in found.rails])
    if found.power_mw is not None:
        click.echo(printable(f"power: {found.power_mw:.0f} mW ({found.scope})"))
