"""``edgewright fleet tokens``: who may use the HTTP interface, and for what."""

from __future__ import annotations

import time
from pathlib import Path

import click

from .fleet_report import ago
from .fleet_state import fleet_database, fleet_paths, state_option
from .output import json_option, print_json, print_table

DAY_S = 86400.0


@click.group()
def tokens() -> None:
    """Tokens for the HTTP interface."""


@tokens.command()
@click.argument("name")
@click.option("--role", type=click.Choice(["viewer", "operator", "approver", "admin"]), required=True, help="What it may do.")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), default=90.0, show_default=True, help="How long it is good.")
@state_option
@json_option
def create(name: str, role: str, days: float, state: Path, as_json: bool) -> int:
    """Make a token for NAME; it is shown this once."""
    from ..controller.audit import person_here

    with fleet_database(fleet_paths(state)) as database:
        from ..controller.tokens import Tokens

        token = Tokens(database).create(name, role, person_here(), time.time(), days * DAY_S)  # type: ignore[arg-type] # one of the choices
    if as_json:
        print_json({"token": token, "name": name, "role": role})
    else:
        click.echo(token)
    return 0


@tokens.command("list")
@state_option
@json_option
def list_tokens(state: Path, as_json: bool) -> int:
    """The tokens, without their secrets."""
    with fleet_database(fleet_paths(state)) as database:
        from ..controller.tokens import Tokens

        views = Tokens(database).all()
    if as_json:
        print_json({"tokens": views})
        return 0
    now_s = time.time()
    rows = []
    for view in views:
        is_expired = view.expires_s is not None and view.expires_s <= now_s
        state_word = "revoked" if view.revoked_s is not None else "expired" if is_expired else "good"
        rows.append([view.token, view.name, view.role, ago(view.created_s), state_word])
    print_table(["token", "name", "role", "made", "state"], rows)
    return 0


@tokens.command()
@click.argument("token", metavar="ID")
@state_option
@json_option
def revoke(token: str, state: Path, as_json: bool) -> int:
    """The token ID is good no more."""
    from ..controller.audit import person_here

    with fleet_database(fleet_paths(state)) as database:
        from ..controller.tokens import Tokens

        Tokens(database).revoke(token, person_here(), time.time())
    if as_json:
        print_json({"token": token, "revoked": True})
    else:
        click.echo(f"{token} is good no more")
    return 0
