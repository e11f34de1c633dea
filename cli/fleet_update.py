"""``edgewright fleet update-agent``: a version of the agent itself, by the same rollouts as a model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from .fleet_order import approved
from .fleet_rollout import PLAN_KEYS, PLAN_OPTIONS, rollouts_of
from .fleet_state import fleet_database, fleet_paths, selector_options, state_option, with_options
from .output import existing_path, json_option, print_json


@click.command("update-agent")
@click.argument("package", type=existing_path)
@state_option
@with_options(selector_options)
@with_options(PLAN_OPTIONS)
@click.option("--probation", "probation_s", type=click.FloatRange(0, 86400), default=300.0, show_default=True, help="Seconds on trial.")
@click.option("--deadline", "deadline_s", type=click.FloatRange(1, 30 * 86400), default=86400.0, show_default=True, help="Seconds in all.")
@click.option("--approval", "approval_file", type=existing_path, help="Approval of the package by the offline keys, where they are not here.")
@click.option("--activation", default="at-once", show_default=True, help="at-once, idle, or a window in UTC as 02:00-05:30.")
@json_option
def update_agent(
    package: Path,
    state: Path,
    names: tuple[str, ...],
    labels: tuple[str, ...],
    hardware_class: str | None,
    probation_s: float,
    deadline_s: float,
    approval_file: Path | None,
    activation: str,
    as_json: bool,
    **options: Any,
) -> int:
    """Send a version of the agent to devices in waves: PACKAGE is its wheel, or a folder with it and the wheels that it needs anew.

    It is installed beside the one that runs, takes its place, and makes way again when it does not come up or reach the controller. Nothing is
    measured for it: a wave is judged by how many succeed.
    """
    from ..controller.audit import person_here
    from ..controller.blobs import BlobStore
    from ..controller.orders import new_deployment_id
    from ..controller.packages import pack_package
    from ..controller.rollout_plan import RolloutPlan, check_plan
    from ..core.activation import parse_activation
    from ..core.package import version_of
    from ..core.wire.messages import AGENT_MODEL, Order

    paths, policy = fleet_paths(state), parse_activation(activation)
    plan = check_plan(RolloutPlan(**{key: options.pop(key) for key in PLAN_KEYS} | {"on_unproven": "promote"}))
    with fleet_database(paths) as database:
        from ..controller.inventory import Inventory, Selector, parse_labels

        selector = Selector(devices=tuple(dict.fromkeys(names)), labels=parse_labels(labels), hardware_class=hardware_class)
        Inventory(database).selected(selector)  # before anything is copied
        artifact, own = pack_package(BlobStore(paths.blobs), package)
        order = Order(
            deployment=new_deployment_id("agent"),
            version=version_of(own) or "",
            model=artifact,
            model_file=own,
            recipe="none",
            deadline_s=deadline_s,
            probation_s=probation_s,
            activation=policy,
            kind="agent",
        )
        order = approved(paths, AGENT_MODEL, order, approval_file)
        identity = rollouts_of(paths, database).start(AGENT_MODEL, order, selector, plan, person_here(), time.time())
    if as_json:
        print_json({"rollout": identity, "deployment": order.deployment, "version": order.version})
    else:
        click.echo(f"{identity}: edgewright fleet rollouts {identity} --watch")
    return 0
