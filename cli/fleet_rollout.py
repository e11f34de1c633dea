"""``edgewright fleet rollout`` and what people order while it goes: ``rollouts``, ``approve``, ``pause``, ``resume``, ``retry``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .fleet_order import name_of, order_of, order_options
from .fleet_report import ago, printable
from .fleet_state import fleet_database, fleet_paths, selector_options, state_option, with_options
from .output import existing_path, json_option, print_json, print_table

if TYPE_CHECKING:
    from ..controller.database import Database
    from ..controller.paths import FleetPaths
    from ..controller.rollouts import Rollouts, RolloutView

WATCH_POLL_S = 0.5

PLAN_OPTIONS = (
    click.option("--canary", type=int, default=7, show_default=True, help="Devices of each hardware class that go first."),
    click.option("--share", "shares", type=float, multiple=True, help="Share of all devices up to a wave, cumulative; may be repeated."),
    click.option("--growth", type=float, default=3.0, show_default=True, help="Each wave is so many times the last, without --share."),
    click.option("--rate", "rate_per_min", type=float, help="Devices released per minute at most; grows with each wave."),
    click.option("--max-failed", type=int, help="Stop when more devices than this have failed."),
    click.option("--max-failed-share", type=float, default=0.05, show_default=True, help="Stop when more of one wave have failed."),
    click.option("--min-succeeded-share", type=float, default=0.95, show_default=True, help="A wave is over when so many have succeeded."),
    click.option(
        "--device-timeout", "device_timeout_s", type=float, default=86400.0, show_default=True, help="Seconds until a device counts as failed."
    ),
    click.option("--soak", "soak_s", type=float, default=0.0, show_default=True, help="Seconds that a wave stays open at least."),
    click.option(
        "--ask",
        "approval",
        type=click.Choice(["none", "start", "each-wave"]),
        default="none",
        show_default=True,
        help="When a person has to approve.",
    ),
    click.option("--on-failure", type=click.Choice(["pause", "roll-back"]), default="pause", show_default=True, help="What failures do."),
    click.option("--on-unproven", type=click.Choice(["pause", "promote"]), default="pause", show_default=True, help="What too few measurements do."),
    click.option("--min-good-share", type=float, default=0.8, show_default=True, help="Share of a class that must measure well."),
    click.option("--confidence", type=float, default=0.9, show_default=True, help="How sure the measurements must make it."),
    click.option("--max-latency-ratio", type=float, default=1.1, show_default=True, help="p99 against what the device ran before."),
    click.option("--max-energy-ratio", type=float, default=1.1, show_default=True, help="Energy against what it ran before."),
    click.option("--late-joiners/--no-late-joiners", default=True, show_default=True, help="Whether later devices take part."),
)
PLAN_KEYS = (
    "canary", "shares", "growth", "rate_per_min", "max_failed", "max_failed_share", "min_succeeded_share", "device_timeout_s", "soak_s", "approval",
    "on_failure", "on_unproven", "min_good_share", "confidence", "max_latency_ratio", "max_energy_ratio", "late_joiners",
)  # fmt: skip


@click.command()
@click.argument("model", type=existing_path)
@state_option
@with_options(selector_options)
@with_options(PLAN_OPTIONS)
@order_options
@json_option
def rollout(
    model: Path,
    state: Path,
    name: str | None,
    names: tuple[str, ...],
    labels: tuple[str, ...],
    hardware_class: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Send MODEL to many devices in waves; measurements decide whether the next wave opens."""
    from ..controller.audit import person_here
    from ..controller.rollout_plan import RolloutPlan, check_plan

    paths, model_name = fleet_paths(state), name_of(model, name)
    plan = check_plan(RolloutPlan(**{key: options.pop(key) for key in PLAN_KEYS}))
    with fleet_database(paths) as database:
        from ..controller.blobs import BlobStore
        from ..controller.inventory import Inventory, Selector, parse_labels
        from ..controller.keys import fleet_name
        from ..controller.orders import Orders
        from ..controller.shortcuts import with_shortcuts

        selector = Selector(devices=tuple(dict.fromkeys(names)), labels=parse_labels(labels), hardware_class=hardware_class)
        chosen = Inventory(database).selected(selector)  # before anything is copied
        order = order_of(paths, model, model_name, **options)
        earlier = Orders(database, fleet_name(paths)).goals(model_name, [member.device for member in chosen])
        order = with_shortcuts(order, earlier, BlobStore(paths.blobs))
        identity = rollouts_of(paths, database).start(model_name, order, selector, plan, person_here(), time.time())
    if as_json:
        print_json({"rollout": identity, "deployment": order.deployment, "model": model_name, "version": order.version})
    else:
        click.echo(f"{identity}: edgewright fleet rollouts {identity} --watch")
    return 0


@click.command("rollout-again")
@click.argument("deployment", default="latest")
@state_option
@with_options(selector_options)
@with_options(PLAN_OPTIONS)
@json_option
def rollout_again(
    deployment: str, state: Path, names: tuple[str, ...], labels: tuple[str, ...], hardware_class: str | None, as_json: bool, **options: Any
) -> int:
    """Roll out once more what was deployed as DEPLOYMENT, with its files, budget and recipe."""
    from ..controller.audit import person_here
    from ..controller.keys import fleet_name
    from ..controller.rollout_plan import RolloutPlan, check_plan

    paths = fleet_paths(state)
    plan = check_plan(RolloutPlan(**{key: options.pop(key) for key in PLAN_KEYS}))
    with fleet_database(paths) as database:
        from ..controller.deeds import Deeds
        from ..controller.inventory import Selector, parse_labels

        selector = Selector(devices=tuple(dict.fromkeys(names)), labels=parse_labels(labels), hardware_class=hardware_class)
        identity = Deeds(database, paths, fleet_name(paths)).start(deployment, selector, plan, person_here(), time.time())
    if as_json:
        print_json({"rollout": identity})
    else:
        click.echo(f"{identity}: edgewright fleet rollouts {identity} --watch")
    return 0


@click.command()
@click.argument("identity", metavar="[ROLLOUT]", required=False)
@state_option
@click.option("--watch", "is_watching", is_flag=True, help="Follow it until it is over or waits for a person.")
@json_option
def rollouts(identity: str | None, state: Path, is_watching: bool, as_json: bool) -> int:
    """List the rollouts, or show ROLLOUT with its waves; exits 1 when it has not succeeded."""
    paths = fleet_paths(state)
    with fleet_database(paths) as database:
        known = rollouts_of(paths, database)
        if identity is None and not is_watching:
            views = known.all(time.time())
            if as_json:
                print_json({"rollouts": views})
            else:
                rows = [[view.rollout, view.model, view.version, view.state, _waves_line(view), ago(view.created_s)] for view in views]
                print_table(["rollout", "model", "version", "state", "waves", "begun"], rows)
            return 0
        view = known.view(identity or "latest", time.time())
        last = ""
        while is_watching and view.state in {"RUNNING", "ROLLING_BACK"}:
            line = f"{view.state}  {_waves_line(view)}"
            if line != last:
                click.echo(line, err=as_json)
                last = line
            time.sleep(WATCH_POLL_S)
            view = known.view(view.rollout, time.time())
    if as_json:
        print_json(view)
    else:
        _print(view)
    return 1 if view.state in {"PAUSED", "CANCELED", "ROLLED_BACK"} else 0


def _waves_line(view: RolloutView) -> str:
    done = sum(wave.succeeded for wave in view.waves)
    failed = sum(wave.failed for wave in view.waves)
    return f"wave {view.wave + 1} of {len(view.waves)}, {done} of {sum(wave.size for wave in view.waves)} succeeded, {failed} failed"


def _print(view: RolloutView) -> None:
    click.echo(printable(f"{view.rollout}  {view.model} {view.version}  to {view.selector.words()}  {view.state}"))
    if view.reason is not None:
        click.echo(printable(f"  {view.reason.line()}"))
    rows = []
    for number, wave in enumerate(view.waves):
        verdict = wave.judgement.verdict if wave.judgement is not None else "–"
        counts = [wave.size, wave.released, wave.succeeded, wave.failed, wave.silent, wave.open]
        rows.append([str(number + 1), *(str(count) for count in counts), verdict])
    print_table(["wave", "devices", "released", "succeeded", "failed", "silent", "open", "measured"], rows)
    for wave in view.waves:
        for figure in wave.judgement.figures if wave.judgement is not None else ():
            before = "–" if figure.median_old is None else f"{figure.median_old:.4g}"
            share = f"{figure.good} of {figure.measured} good, {figure.low:.0%} to {figure.high:.0%} of the class: {figure.verdict}"
            click.echo(printable(f"  {figure.hardware_class}  {figure.figure}  {before} → {figure.median_new:.4g}  {share}"))


def rollouts_of(paths: FleetPaths, database: Database) -> Rollouts:
    """The rollouts of a fleet."""
    from ..controller.keys import fleet_name
    from ..controller.orders import Orders
    from ..controller.rollouts import Rollouts

    return Rollouts(database, Orders(database, fleet_name(paths)))


def order_rollout(state: Path, identity: str, verb: str, *, as_json: bool) -> int:
    """Carry a person's order to a rollout out, and say what it is now."""
    from ..controller.audit import person_here

    paths = fleet_paths(state)
    with fleet_database(paths) as database:
        known, now_s = rollouts_of(paths, database), time.time()
        identity = known.view(identity, now_s).rollout
        result = getattr(known, verb)(identity, person_here(), now_s)
        view = known.view(identity, now_s)
    if as_json:
        print_json({"rollout": identity, "state": view.state, "devices": result if isinstance(result, int) else None})
    else:
        click.echo(f"{identity} is {view.state}" + (f", {result} devices are tried again" if isinstance(result, int) else ""))
    return 0


def open_rollout(state: Path, identity: str) -> str | None:
    """The id of the rollout that `identity` names, by itself or by its deployment; None when there is none."""
    from ..core.errors import Rejected

    paths = fleet_paths(state)
    with fleet_database(paths) as database:
        try:
            view = rollouts_of(paths, database).view(identity, time.time())
        except Rejected:
            return None
    return view.rollout if identity in {view.rollout, view.deployment} else None


@click.command()
@click.argument("identity", metavar="ROLLOUT", default="latest")
@state_option
@json_option
def approve(identity: str, state: Path, as_json: bool) -> int:
    """Let the wave go that waits for approval."""
    return order_rollout(state, identity, "approve", as_json=as_json)


@click.command()
@click.argument("identity", metavar="ROLLOUT", default="latest")
@state_option
@json_option
def pause(identity: str, state: Path, as_json: bool) -> int:
    """Release no more devices; those that are released go on."""
    return order_rollout(state, identity, "pause", as_json=as_json)


@click.command()
@click.argument("identity", metavar="ROLLOUT", default="latest")
@state_option
@json_option
def resume(identity: str, state: Path, as_json: bool) -> int:
    """Go on; what has failed until now is accepted."""
    return order_rollout(state, identity, "resume", as_json=as_json)


@click.command()
@click.argument("identity", metavar="ROLLOUT", default="latest")
@state_option
@json_option
def retry(identity: str, state: Path, as_json: bool) -> int:
    """Try the devices again that failed or are silent; a refusal is final."""
    return order_rollout(state, identity, "retry", as_json=as_json)
