"""``edgewright fleet deploy``, ``remove``, ``watch`` and ``report``: what shall be on the devices, and what came of it."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .fleet_report import print_report, printable
from .fleet_state import devices_option, fleet_database, fleet_paths, state_option
from .output import existing_path, json_option, print_json

if TYPE_CHECKING:
    from ..controller.blobs import BlobStore
    from ..controller.paths import FleetPaths
    from ..core.artifact import Artifact
    from ..core.wire.messages import Order

WATCH_POLL_S = 0.2


@click.command()
@click.argument("model", type=existing_path)
@state_option
@click.option("--calibration", type=existing_path, help="Samples to calibrate with: images, .npz or a folder of .npy.")
@click.option("--evaluation", type=existing_path, help="Samples to measure fidelity on; default: the calibration samples.")
@click.option("--budget", "budget_file", type=existing_path, help="TOML file with the limits that the engine must meet.")
@click.option("--recipe", default="auto", show_default=True, help="auto, none, int8, small, fast, balanced or distilled.")
@click.option("--codec", type=click.Choice(["none", "ewz"]), default="none", show_default=True, help="Code the model losslessly for the wire.")
@click.option("--name", help="The model's name on the devices; default: the file's.")
@click.option("--version", "version", help="What this version is called; default: the first digits of its digest.")
@devices_option
@click.option("--probation", "probation_s", type=click.FloatRange(0, 86400), default=60.0, show_default=True, help="Seconds on trial.")
@click.option("--deadline", "deadline_s", type=click.FloatRange(1, 30 * 86400), default=86400.0, show_default=True, help="Seconds in all.")
@json_option
def deploy(model: Path, state: Path, name: str | None, names: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Send MODEL to devices; ``watch`` shows how it goes."""
    from ..controller.keys import fleet_name

    paths = fleet_paths(state)
    model_name = name or model.stem.lower().replace("_", "-").replace(".", "-")
    with fleet_database(paths) as database:
        from ..controller.orders import Orders

        order = _order(paths, model, model_name, **options)
        Orders(database, fleet_name(paths)).deploy(model_name, order, names, time.time())
    if as_json:
        print_json({"deployment": order.deployment, "model": model_name, "version": order.version})
    else:
        click.echo(f"{order.deployment}: edgewright fleet watch {order.deployment}")
    return 0


def _order(
    paths: FleetPaths,
    model: Path,
    model_name: str,
    *,
    calibration: Path | None,
    evaluation: Path | None,
    budget_file: Path | None,
    recipe: str,
    codec: str,
    version: str | None,
    probation_s: float,
    deadline_s: float,
) -> Order:
    from ..controller.blobs import BlobStore
    from ..controller.orders import new_deployment_id
    from ..controller.packing import CODED_NAME, MODEL_NAME, pack_dataset
    from ..core.budget import Budget, budget_from_toml
    from ..core.wire.messages import Order
    from ..core.wire.topics import check_name

    check_name(model_name, what="model")  # before anything is copied
    budget = Budget() if budget_file is None else budget_from_toml(budget_file)
    store = BlobStore(paths.blobs)
    artifact = _packed(store, model, codec)
    model_file = CODED_NAME if CODED_NAME in artifact.files else MODEL_NAME
    return Order(
        deployment=new_deployment_id(model_name),
        version=version or artifact.files[model_file].digest[:12],
        model=artifact,
        model_file=model_file,
        calibration=None if calibration is None else pack_dataset(store, calibration, model),
        evaluation=None if evaluation is None else pack_dataset(store, evaluation, model),
        recipe=recipe,
        budget=budget,
        deadline_s=deadline_s,
        probation_s=probation_s,
    )


def _packed(store: BlobStore, model: Path, codec: str) -> Artifact:
    """The model's artifact; with a `codec` the model is coded on the way, its external data inside."""
    from ..controller.packing import pack_model

    if codec == "none" or model.suffix == ".ewz" or not model.is_file():
        return pack_model(store, model)
    from ..compression.codec.container import write_coded

    with tempfile.TemporaryDirectory(prefix="edgewright-codec-") as folder:
        coded = Path(folder) / "model.ewz"
        write_coded(model, coded)
        card = model.with_suffix(".toml")
        if card.is_file():
            shutil.copyfile(card, coded.with_suffix(".toml"))
        return pack_model(store, coded)


@click.command()
@click.argument("model")
@state_option
@devices_option
@json_option
def remove(model: str, state: Path, names: tuple[str, ...], as_json: bool) -> int:
    """Take MODEL from devices."""
    from ..controller.keys import fleet_name

    paths = fleet_paths(state)
    with fleet_database(paths) as database:
        from ..controller.orders import Orders

        count = Orders(database, fleet_name(paths)).remove(model, names, time.time())
    if as_json:
        print_json({"model": model, "devices": count})
    else:
        click.echo(f"{model}: taken from the goal of {count} devices")
    return 0


@click.command()
@click.argument("deployment", default="latest")
@state_option
@click.option("--timeout", "timeout_s", type=click.FloatRange(0), default=0.0, help="Give up after this many seconds; 0 = never.")
@json_option
def watch(deployment: str, state: Path, timeout_s: float, as_json: bool) -> int:
    """Follow DEPLOYMENT until it is over on every device; exits 0 when it succeeded on all."""
    deadline = time.monotonic() + timeout_s if timeout_s else None
    with fleet_database(fleet_paths(state)) as database:
        from ..controller.reports import Reports

        reports = Reports(database)
        identity, seen = reports.deployment(deployment).deployment, 0
        while True:
            for number_seen, event in reports.events(identity, seen):
                seen = max(seen, number_seen)
                why = f": {event.reason.line()}" if event.reason else ""
                line = f"{time.strftime('%H:%M:%S', time.localtime(event.time_s))}  {event.device}  {event.state}{why}"
                click.echo(printable(line), err=as_json)
            view = reports.deployment(identity)
            is_late = deadline is not None and time.monotonic() > deadline
            if all(target.is_over for target in view.devices) or is_late:
                break
            time.sleep(WATCH_POLL_S)
    if as_json:
        print_json(view)
    elif is_late:
        click.echo("edgewright: gave up waiting; the deployment goes on", err=True)
    return 0 if all(target.state == "SUCCEEDED" for target in view.devices) else 1


@click.command()
@click.argument("deployment", default="latest")
@state_option
@json_option
def report(deployment: str, state: Path, as_json: bool) -> int:
    """What DEPLOYMENT came to: FP32 beside the chosen engine, for each device."""
    with fleet_database(fleet_paths(state)) as database:
        from ..controller.reports import Reports

        view = Reports(database).deployment(deployment)
    if as_json:
        print_json(view)
    else:
        print_report(view)
    return 0
