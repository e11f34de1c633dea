"""``edgewright agent``: runs the daemon, and talks to it by its local socket, also when the broker is down."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import click

from .output import json_option, print_json, print_table, size

DEFAULT_CONFIG = Path("/etc/edgewright/agent.toml")
config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    envvar="EDGEWRIGHT_CONFIG",
    show_default=True,
    help="The agent's configuration, which names its socket.",
)


@click.group()
def agent() -> None:
    """The daemon on the device."""


@agent.command()
@config_option
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]), show_default=True)
def run(config: Path, log_level: str) -> int:
    """Run the agent in the foreground."""
    # The command line's own imports must not stay in the daemon's memory: become it.
    arguments = [sys.executable, "-m", "edgewright.agent", "--config", str(config), "--log-level", log_level]
    os.environ["PYTHONSAFEPATH"] = "1"
    os.execv(sys.executable, arguments)  # noqa: S606 - our own interpreter, our own module


@agent.command()
@config_option
@json_option
def status(config: Path, as_json: bool) -> int:
    """What runs on this device."""
    answer = _ask(config, "status")
    if as_json:
        print_json(answer)
        return 0
    link = "connected to" if answer["connected"] else "NOT connected to"
    click.echo(f"{answer['fleet']}/{answer['device']}, {link} {answer['broker']}, {answer['events_waiting']} events waiting")
    rows = []
    for name, model in answer["models"].items():
        slots = [model[slot]["version"] if model.get(slot) else "–" for slot in ("active", "previous", "trial")]
        rows.append([name + (" (held)" if model["held"] else ""), *slots, model["state"] or "–", model["deployment"] or "–"])
    if rows:
        print_table(["model", "active", "previous", "trial", "last deployment", ""], rows)
    for problem in answer["problems"]:
        click.echo(f"problem: {problem['message']}. {problem['next']} [{problem['code']}]")
    return 0


@agent.command()
@config_option
@json_option
def jobs(config: Path, as_json: bool) -> int:
    """Deployments under way."""
    answer = _ask(config, "jobs")
    if as_json:
        print_json({"jobs": answer})
    elif not answer:
        click.echo("nothing is under way")
    else:
        print_table(["model", "deployment", "state", "since", "progress"], [_job_row(job) for job in answer])
    return 0


def _job_row(job: dict[str, Any]) -> list[str]:
    progress = "–"
    if job["bytes_total"]:
        progress = f"{job['bytes_done'] / 1e6:.1f} of {job['bytes_total'] / 1e6:.1f} MB"
    elif job["progress"] is not None:
        progress = f"{100 * job['progress']:.0f} % {job['note']}"
    return [job["model"], job["deployment"], job["state"], f"{job['elapsed_s']:.0f} s", progress]


@agent.command()
@click.argument("name")
@config_option
@json_option
def explain(name: str, config: Path, as_json: bool) -> int:
    """Why the last deployment of NAME (a model or a deployment) is what it is."""
    answer = _ask(config, "explain", name)
    if as_json:
        print_json(answer)
        return 0
    click.echo(f"{answer['model']}: {answer['deployment']} (version {answer['version']}, attempt {answer['attempt']}) is {answer['state']}")
    if answer["reason"]:
        click.echo(f"because: {answer['reason']['message']}. {answer['reason']['next']} [{answer['reason']['code']}]")
    if answer["held"]:
        click.echo("held: rolled back by the owner; edgewright agent rollback --release lets the goal apply again")
    for check in ((answer["measurement"] or {}).get("verdict") or {}).get("checks", []):
        value = "unmeasured" if check["value"] is None else f"{check['value']:.6g}"
        click.echo(f"  {check['limit']} = {check['allowed']:g}: {value}, {check['outcome']}")
    for note in answer["notes"]:
        click.echo(f"  {note}")
    return 0


@agent.command()
@click.argument("deployment")
@config_option
@json_option
def cancel(deployment: str, config: Path, as_json: bool) -> int:
    """End DEPLOYMENT; one on probation is rolled back."""
    return _done(_ask(config, "cancel", deployment), f"{deployment} is being cancelled", as_json=as_json)


@agent.command()
@click.argument("model")
@click.option("--release", is_flag=True, help="Let the fleet's goal apply again after a roll-back.")
@config_option
@json_option
def rollback(model: str, release: bool, config: Path, as_json: bool) -> int:
    """Go back to MODEL's previous engine, and hold it until --release."""
    if release:
        return _done(_ask(config, "release", model), f"{model}: the fleet's goal applies again", as_json=as_json)
    return _done(_ask(config, "rollback", model), f"{model}: the previous engine is active, and held", as_json=as_json)


@agent.command()
@click.option("--out", type=click.Path(path_type=Path), help="The file to write, a .tar.gz; default: a new one in this folder.")
@config_option
@json_option
def diag(out: Path | None, config: Path, as_json: bool) -> int:
    """Collect what a report of a fault needs into one file, without secrets. The agent need not run."""
    from ..agent.diagnosis import diagnose

    bundle = diagnose(config)
    path = out if out is not None else Path(f"edgewright-diag-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz")
    size_bytes = bundle.write(path)
    if as_json:
        files = [{"name": piece.name, "size_bytes": len(piece.data), "is_cut": piece.is_cut} for piece in bundle.pieces]
        print_json({"path": str(path), "size_bytes": size_bytes, "files": files, "missing": bundle.missing})
        return 0
    click.echo(bundle.contents())
    click.echo(f"{path}: {size(size_bytes)}. Look through it before you send it: tar -xzf {path}")
    return 0


def _ask(config: Path, verb: Any, name: str = "") -> Any:
    from ..agent.config import config_from_toml
    from ..agent.control import ControlRequest, ask_agent

    return ask_agent(config_from_toml(config).socket, ControlRequest(verb, name))


def _done(answer: Any, words: str, *, as_json: bool) -> int:
    if as_json:
        print_json(answer)
    else:
        click.echo(words)
    return 0
