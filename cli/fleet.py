"""``edgewright fleet``: the controller. ``serve`` runs it; every other command works on its state folder and needs no network."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .fleet_report import ago, print_report
from .output import existing_path, json_option, print_json, print_table

if TYPE_CHECKING:
    from ..controller.database import Database
    from ..controller.paths import FleetPaths

F = TypeVar("F", bound=Callable[..., Any])

STATE_VARIABLE = "EDGEWRIGHT_FLEET"
state_option = click.option(
    "--state", type=click.Path(path_type=Path), default=Path("fleet"), envvar=STATE_VARIABLE, show_default=True, help="The fleet's state folder."
)


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
@click.option("--broker", default="auto", show_default=True, help="auto, mosquitto, amqtt, or mqtt[s]://USER:PASSWORD@HOST:PORT.")
@click.option("--port", type=click.IntRange(0, 65535), default=1883, show_default=True, help="Port of our own broker; 0 takes a free one.")
@click.option("--ca", type=existing_path, help="CA certificate of an mqtts:// broker.")
@json_option
def serve(state: Path, broker: str, port: int, ca: Path | None, as_json: bool) -> int:
    """Run the controller until it is stopped; prints one line when it is ready."""
    from .serving import serve_fleet

    return serve_fleet(_paths(state), broker, port, ca, as_json=as_json)


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
    from ..controller.enrollment import Address, read_address
    from ..controller.enrollment import enroll as run
    from ..controller.keys import fleet_name
    from ..controller.orders import Orders

    paths = _paths(state)
    name = fleet_name(paths)
    served = read_address(paths) or Address("127.0.0.1", 1883)
    address = Address(host or served.host, port or served.port)
    with _database(paths) as database:
        run(paths, Orders(database, name), name, device, out, address, None if device_state is None else device_state.resolve())
    if as_json:
        print_json({"device": device, "config": str(out.resolve() / "agent.toml"), "host": address.host, "port": address.port})
    else:
        click.echo(f"enrolled {device}: copy {out} to it, then edgewright agent run --config {out / 'agent.toml'}")
    return 0


@fleet.command()
@state_option
@json_option
def devices(state: Path, as_json: bool) -> int:
    """What the devices last said."""
    from ..controller.reports import Reports

    with _database(_paths(state)) as database:
        views = Reports(database).devices()
    if as_json:
        print_json({"devices": views})
        return 0
    rows = []
    for view in views:
        models = view.reported.models if view.reported else {}
        running = ", ".join(f"{name} {report.active.version}" for name, report in models.items() if report.active) or "–"
        board = view.capabilities.board if view.capabilities else "–"
        rows.append([view.name, "online" if view.online else "offline", ago(view.seen_s), board, running])
    print_table(["device", "state", "seen", "board", "runs"], rows)
    return 0


@fleet.command()
@click.argument("model", type=existing_path)
@state_option
@click.option("--calibration", type=existing_path, help="Samples to calibrate with: images, .npz or a folder of .npy.")
@click.option("--evaluation", type=existing_path, help="Samples to measure fidelity on; default: the calibration samples.")
@click.option("--budget", "budget_file", type=existing_path, help="TOML file with the limits that the engine must meet.")
@click.option("--recipe", default="auto", show_default=True, help="auto, int8 or none.")
@click.option("--name", help="The model's name on the devices; default: the file's.")
@click.option("--version", "version", help="What this version is called; default: the first digits of its digest.")
@click.option("--device", "names", multiple=True, help="A device; may be repeated. Default: all of them.")
@click.option("--probation", "probation_s", type=click.FloatRange(0, 86400), default=60.0, show_default=True, help="Seconds on trial.")
@click.option("--deadline", "deadline_s", type=click.FloatRange(1, 30 * 86400), default=86400.0, show_default=True, help="Seconds in all.")
@json_option
def deploy(model: Path, state: Path, name: str | None, names: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Send MODEL to devices; ``watch`` shows how it goes."""
    from ..controller.keys import fleet_name
    from ..controller.orders import Orders

    paths = _paths(state)
    model_name = name or model.stem.lower().replace("_", "-").replace(".", "-")
    order = _order(paths, model, model_name, **options)
    with _database(paths) as database:
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
    version: str | None,
    probation_s: float,
    deadline_s: float,
) -> Any:
    from ..controller.blobs import BlobStore
    from ..controller.orders import new_deployment_id
    from ..controller.packing import MODEL_NAME, pack_dataset, pack_model
    from ..core.budget import Budget, budget_from_toml
    from ..core.errors import Rejected
    from ..core.wire.messages import Order

    if not model.is_file():
        raise Rejected("model-missing", f"there is no model at {model}", "Give the path of an .onnx file")
    store = BlobStore(paths.blobs)
    artifact = pack_model(store, model)
    return Order(
        deployment=new_deployment_id(model_name),
        version=version or artifact.files[MODEL_NAME].digest[:12],
        model=artifact,
        model_file=MODEL_NAME,
        calibration=None if calibration is None else pack_dataset(store, calibration, model),
        evaluation=None if evaluation is None else pack_dataset(store, evaluation, model),
        recipe=recipe,
        budget=Budget() if budget_file is None else budget_from_toml(budget_file),
        deadline_s=deadline_s,
        probation_s=probation_s,
    )


@fleet.command()
@click.argument("model")
@state_option
@click.option("--device", "names", multiple=True, help="A device; may be repeated. Default: all of them.")
@json_option
def remove(model: str, state: Path, names: tuple[str, ...], as_json: bool) -> int:
    """Take MODEL from devices."""
    from ..controller.keys import fleet_name
    from ..controller.orders import Orders

    paths = _paths(state)
    with _database(paths) as database:
        count = Orders(database, fleet_name(paths)).remove(model, names)
    if as_json:
        print_json({"model": model, "devices": count})
    else:
        click.echo(f"{model}: taken from the goal of {count} devices")
    return 0


@fleet.command()
@click.argument("deployment", default="latest")
@state_option
@click.option("--timeout", "timeout_s", type=click.FloatRange(0), default=0.0, help="Give up after this many seconds; 0 = never.")
@json_option
def watch(deployment: str, state: Path, timeout_s: float, as_json: bool) -> int:
    """Follow DEPLOYMENT until it is over on every device; exits 0 when it succeeded on all."""
    from ..controller.reports import Reports

    deadline = time.monotonic() + timeout_s if timeout_s else None
    with _database(_paths(state)) as database:
        reports = Reports(database)
        identity, seen = reports.deployment(deployment).deployment, 0
        while True:
            for number_seen, event in reports.events(identity, seen):
                seen = max(seen, number_seen)
                why = f": {event.reason.line()}" if event.reason else ""
                click.echo(f"{time.strftime('%H:%M:%S', time.localtime(event.time_s))}  {event.device}  {event.state}{why}", err=as_json)
            view = reports.deployment(identity)
            is_late = deadline is not None and time.monotonic() > deadline
            if all(target.is_over for target in view.devices) or is_late:
                break
            time.sleep(0.2)
    if as_json:
        print_json(view)
    elif is_late:
        click.echo("edgewright: gave up waiting; the deployment goes on", err=True)
    return 0 if all(target.state == "SUCCEEDED" for target in view.devices) else 1


@fleet.command()
@click.argument("deployment", default="latest")
@state_option
@json_option
def report(deployment: str, state: Path, as_json: bool) -> int:
    """What DEPLOYMENT came to: FP32 beside the chosen engine, for each device."""
    from ..controller.reports import Reports

    with _database(_paths(state)) as database:
        view = Reports(database).deployment(deployment)
    if as_json:
        print_json(view)
    else:
        print_report(view)
    return 0


def _paths(state: Path) -> FleetPaths:
    from ..controller.keys import fleet_name
    from ..controller.paths import FleetPaths

    paths = FleetPaths(state.resolve())
    fleet_name(paths)
    paths.make()
    return paths


@contextlib.contextmanager
def _database(paths: FleetPaths) -> Iterator[Database]:
    """The fleet's database for one command."""
    from ..core.errors import Unfit

    try:
        from ..controller.database import Database
    except ImportError as error:
        hint = "pip install 'edgewright[controller]'"
        raise Unfit("controller-missing", "the controller's libraries are not installed", hint) from error
    database = Database(paths.database)
    try:
        yield database
    finally:
        database.close()
