"""``edgewright fleet cancel``, ``rollback`` and ``release``: orders outside the goal, which the devices answer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .fleet_report import printable
from .fleet_rollout import open_rollout, order_rollout
from .fleet_state import fleet_database, fleet_paths, state_option
from .output import json_option, print_json

if TYPE_CHECKING:
    from ..controller.database import Database
    from ..controller.orders import Verb
    from ..core.wire.messages import Reply

REPLY_POLL_S = 0.1

some_devices_option = click.option("--device", "names", multiple=True, required=True, help="A device; may be repeated.")
wait_option = click.option("--wait", "wait_s", type=click.FloatRange(0), default=30.0, show_default=True, help="Seconds to wait for the answers.")


@click.command()
@click.argument("deployment", default="latest")
@state_option
@click.option("--device", "names", multiple=True, help="A device; may be repeated. Default: those where it is not over.")
@wait_option
@json_option
def cancel(deployment: str, state: Path, names: tuple[str, ...], wait_s: float, as_json: bool) -> int:
    """End DEPLOYMENT on devices that are working on it, or a rollout altogether; what ran before goes on running."""
    found = None if names else open_rollout(state, deployment)
    if found is not None:
        return order_rollout(state, found, "cancel", as_json=as_json)
    with fleet_database(fleet_paths(state)) as database:
        from ..controller.reports import Reports

        view = Reports(database).deployment(deployment)
        chosen = names or tuple(target.device for target in view.devices if not target.is_over)
        return _command(state, database, "cancel", chosen, wait_s, deployment=view.deployment, as_json=as_json)


@click.command()
@click.argument("model", metavar="MODEL|ROLLOUT")
@state_option
@click.option("--device", "names", multiple=True, help="A device; may be repeated. Needed for a model.")
@wait_option
@json_option
def rollback(model: str, state: Path, names: tuple[str, ...], wait_s: float, as_json: bool) -> int:
    """Let devices go back to the engine of MODEL that they ran before, and stay there until ``release``; or all of a ROLLOUT to their former goal."""
    found = None if names else open_rollout(state, model)
    if found is not None:
        return order_rollout(state, found, "roll_back", as_json=as_json)
    if not names:
        raise click.UsageError(f"{model!r} is no rollout: name the devices with --device")
    with fleet_database(fleet_paths(state)) as database:
        return _command(state, database, "rollback", names, wait_s, model=model, as_json=as_json)


@click.command()
@click.argument("model")
@state_option
@some_devices_option
@wait_option
@json_option
def release(model: str, state: Path, names: tuple[str, ...], wait_s: float, as_json: bool) -> int:
    """Let the goal for MODEL apply again on devices that were rolled back."""
    with fleet_database(fleet_paths(state)) as database:
        return _command(state, database, "release", names, wait_s, model=model, as_json=as_json)


def _command(
    state: Path,
    database: Database,
    verb: Verb,
    names: tuple[str, ...],
    wait_s: float,
    *,
    deployment: str | None = None,
    model: str | None = None,
    as_json: bool,
) -> int:
    """Queue one command per device and wait for the answers; 0 when all of them did it."""
    from ..controller.audit import person_here
    from ..controller.keys import fleet_name
    from ..controller.orders import Orders

    orders, now_s, actor = Orders(database, fleet_name(fleet_paths(state))), time.time(), person_here()
    waiting = {orders.command(name, verb, deployment=deployment, model=model, now_s=now_s, actor=actor): name for name in dict.fromkeys(names)}
    replies = _replies(database, waiting, wait_s)
    if as_json:
        answers = [{"device": name, "ok": reply.ok if reply else None, "reason": reply.reason if reply else None} for name, reply in replies.items()]
        print_json({"verb": verb, "replies": answers})
    else:
        for name, reply in replies.items():
            click.echo(printable(f"{name}  {_words(reply)}"))
        if not replies:
            click.echo("nothing to do: it is over on every device")
    return 0 if all(reply is not None and reply.ok for reply in replies.values()) else 1


def _replies(database: Database, waiting: dict[str, str], wait_s: float) -> dict[str, Reply | None]:
    from ..controller.reports import Reports

    reports, deadline = Reports(database), time.monotonic() + wait_s
    while True:
        replies = {name: reports.reply(command) for command, name in waiting.items()}
        if all(reply is not None for reply in replies.values()) or time.monotonic() > deadline:
            return replies
        time.sleep(REPLY_POLL_S)


def _words(reply: Reply | None) -> str:
    if reply is None:
        return "no answer yet: it is told again when it connects within ten minutes"
    if reply.ok:
        return "done"
    return f"refused: {reply.reason.line()}" if reply.reason else "refused"
