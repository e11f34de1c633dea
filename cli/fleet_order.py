"""What ``fleet deploy`` and ``fleet rollout`` share: the options that describe a deployment, and the order that they come to."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import existing_path

if TYPE_CHECKING:
    from ..controller.blobs import BlobStore
    from ..controller.paths import FleetPaths
    from ..core.artifact import Artifact
    from ..core.wire.messages import Approval, Order

_OPTIONS = (
    click.option("--calibration", type=existing_path, help="Samples to calibrate with: images, .npz or a folder of .npy."),
    click.option("--evaluation", type=existing_path, help="Samples to measure fidelity on; default: the calibration samples."),
    click.option("--budget", "budget_file", type=existing_path, help="TOML file with the limits that the engine must meet."),
    click.option("--recipe", default="auto", show_default=True, help="auto, none, int8, small, fast, balanced or distilled."),
    click.option("--codec", type=click.Choice(["none", "ewz"]), default="none", show_default=True, help="Code the model losslessly for the wire."),
    click.option("--name", help="The model's name on the devices; default: the file's."),
    click.option("--version", "version", help="What this version is called; default: the first digits of its digest."),
    click.option("--probation", "probation_s", type=click.FloatRange(0, 86400), default=60.0, show_default=True, help="Seconds on trial."),
    click.option("--deadline", "deadline_s", type=click.FloatRange(1, 30 * 86400), default=86400.0, show_default=True, help="Seconds in all."),
    click.option("--approval", "approval_file", type=existing_path, help="Approval of the model by the offline keys, where they are not here."),
    click.option("--activation", default="at-once", show_default=True, help="at-once, idle, or a window in UTC as 02:00-05:30."),
    click.option("--urgent", "is_urgent", is_flag=True, help="Fetch it over metered links at any time, and beyond their budgets."),
)


def order_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command all of them, in this order."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def name_of(model: Path, name: str | None) -> str:
    """What the model is called on the devices."""
    return name or model.stem.lower().replace("_", "-").replace(".", "-")


def order_of(
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
    activation: str,
    is_urgent: bool,
    approval_file: Path | None,
) -> Order:
    """What the options order.

    Raises:
        Rejected: ``bad-name``, ``activation-malformed``, ``budget-…``, and what packing raises.
    """
    from ..controller.blobs import BlobStore
    from ..controller.orders import new_deployment_id
    from ..controller.packing import pack_dataset
    from ..core.activation import parse_activation
    from ..core.budget import Budget, budget_from_toml
    from ..core.wire.messages import Order
    from ..core.wire.topics import check_name

    check_name(model_name, what="model")  # before anything is copied
    policy = parse_activation(activation)
    budget = Budget() if budget_file is None else budget_from_toml(budget_file)
    store = BlobStore(paths.blobs)
    artifact, model_file = pack_here(paths, model, codec)
    order = Order(
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
        activation=policy,
        is_urgent=is_urgent,
    )
    return approved(paths, model_name, order, approval_file)


def approved(paths: FleetPaths, model_name: str, order: Order, approval_file: Path | None) -> Order:
    """`order` with the approval that this fleet's devices demand: of a file, or signed here where the offline keys lie in the state folder.

    Raises:
        Rejected: ``approval-missing``, ``approval-invalid``, ``approval-withdrawn``, ``approval-unreadable``.
    """
    import datetime as dt

    import msgspec

    from ..controller.ceremony import approve_model
    from ..controller.keys import fleet_name, load_signers
    from ..core.anchor import open_anchor
    from ..core.approval import check_approval

    anchor, fleet = open_anchor(paths.trust), fleet_name(paths)
    is_demanded = anchor.policy.approvals or order.kind == "agent"
    if approval_file is not None:
        order = msgspec.structs.replace(order, approval=read_approval(approval_file))
    elif is_demanded and load_signers(paths.keys, "targets"):
        now = dt.datetime.now(dt.timezone.utc)
        order = msgspec.structs.replace(order, approval=approve_model(fleet, model_name, order.model, order.model_file, paths.keys, now))
    if is_demanded:
        check_approval(anchor, fleet, model_name, order)  # here, and not on a thousand devices
    return order


def read_approval(path: Path) -> Approval:
    """Raises:
    Rejected: ``approval-unreadable``.
    """
    import msgspec

    from ..core.errors import Rejected
    from ..core.wire.messages import Approval

    try:
        return msgspec.json.decode(path.read_bytes(), type=Approval)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Rejected("approval-unreadable", f"{path} is no approval: {error}", "edgewright fleet keys approve writes one") from error


def pack_here(paths: FleetPaths, model: Path, codec: str) -> tuple[Artifact, str]:
    """The model's artifact in this fleet's blobs, and which of its files is the model; raises as `pack_model`."""
    from ..controller.blobs import BlobStore
    from ..controller.packing import CODED_NAME, MODEL_NAME

    artifact = _packed(BlobStore(paths.blobs), model, codec)
    return artifact, CODED_NAME if CODED_NAME in artifact.files else MODEL_NAME


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
