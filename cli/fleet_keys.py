"""``edgewright fleet keys``: the fleet's keys, and what is done with those that are kept offline."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .fleet_order import name_of, pack_here, read_approval
from .fleet_state import fleet_paths, state_option
from .output import existing_path, json_option, print_json

if TYPE_CHECKING:
    from ..core.anchor import Policy

keys_option = click.option("--keys", "keys_folder", type=existing_path, help="Folder with the offline keys; default: the state folder's.")


@click.group()
def keys() -> None:
    """The fleet's keys."""


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc).replace(microsecond=0)


@keys.command()
@state_option
@click.option("--fleet", "name", default="fleet", show_default=True, help="The fleet's name: a-z, 0-9 and -.")
@click.option("--holders", type=int, default=1, show_default=True, help="How many keys the offline roles root and targets have each.")
@click.option("--threshold", type=int, default=1, show_default=True, help="How many of them have to sign.")
@click.option("--approvals/--no-approvals", default=True, show_default=True, help="Whether devices demand the approval of every model by targets.")
@json_option
def init(state: Path, name: str, holders: int, threshold: int, approvals: bool, as_json: bool) -> int:
    """Make the keys and the trust anchor of a new fleet."""
    from ..controller.authority import make_authority
    from ..controller.keys import Offline, init_keys
    from ..controller.paths import FleetPaths

    paths, now = FleetPaths(state.resolve()), _now()
    init_keys(paths, name, now, Offline(holders, threshold, approvals))
    make_authority(paths, name, now)
    if as_json:
        print_json({"fleet": name, "keys": str(paths.keys), "trust": str(paths.trust)})
    else:
        click.echo(f"made the keys of {name} in {paths.keys}")
        click.echo(_day_one(paths.keys, approvals=approvals, count=holders))
    return 0


def _day_one(folder: Path, *, approvals: bool, count: int) -> str:
    """What a person has to know before the first deployment."""
    offline = ", ".join(f"{role}*.pem" if count > 1 and role != "engines" else f"{role}.pem" for role in ("root", "targets", "engines"))
    if not approvals:
        return (
            "Devices take every model that this controller sends: who steals its `desired` key can send models of his own.\n"
            "edgewright fleet keys approvals on  lets them demand the approval of the offline role targets."
        )
    return (
        "Devices take only models that the role targets has approved. While its keys lie here, deploy and rollout approve by themselves: begin.\n"
        f"Before the fleet counts, take {offline} from {folder} to a safe place: keep them away from the network. Then a model needs\n"
        "edgewright fleet keys approve MODEL --keys PLACE --out FILE, and deploy --approval FILE.\n"
        "edgewright fleet keys approvals off  ends the demand."
    )


@keys.command()
@click.argument("role", type=click.Choice(["root", "targets", "desired", "engines"]))
@state_option
@keys_option
@json_option
def rotate(role: str, state: Path, keys_folder: Path | None, as_json: bool) -> int:
    """Give ROLE new keys; devices follow by themselves. The old keys are kept aside, and good for nothing."""
    from ..controller.ceremony import rotate as run

    paths = fleet_paths(state)
    run(paths, keys_folder or paths.keys, role, _now())
    return _say(as_json, {"role": role, "rotated": True}, f"{role} has new keys: take a copy of the state folder, and of the offline keys")


@keys.command()
@state_option
@keys_option
@json_option
def renew(state: Path, keys_folder: Path | None, as_json: bool) -> int:
    """Let the trust anchor expire later: five years from now."""
    from ..controller.ceremony import renew as run

    paths = fleet_paths(state)
    run(paths, keys_folder or paths.keys, _now())
    return _say(as_json, {"renewed": True}, "the trust anchor is good for five years from now")


@keys.command()
@click.argument("model", type=existing_path)
@state_option
@keys_option
@click.option("--name", help="The model's name on the devices; default: the file's.")
@click.option("--codec", type=click.Choice(["none", "ewz"]), default="none", show_default=True, help="As it will be deployed.")
@click.option("--before", type=existing_path, help="The approval of an earlier holder, to sign as well.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write the approval to.")
@json_option
def approve(model: Path, state: Path, keys_folder: Path | None, name: str | None, codec: str, before: Path | None, out: Path, as_json: bool) -> int:
    """Approve MODEL with the offline keys: deploy it with --approval, where they are not. Wheels are a version of the agent."""
    import msgspec

    from ..controller.blobs import BlobStore
    from ..controller.ceremony import approve_model
    from ..controller.keys import fleet_name
    from ..controller.packages import is_package, pack_package
    from ..core.files import write_atomic
    from ..core.wire.messages import AGENT_MODEL

    paths = fleet_paths(state)
    if is_package(model):
        model_name = AGENT_MODEL
        artifact, model_file = pack_package(BlobStore(paths.blobs), model)
    else:
        model_name = name_of(model, name)
        artifact, model_file = pack_here(paths, model, codec)
    earlier = None if before is None else read_approval(before)
    approval = approve_model(fleet_name(paths), model_name, artifact, model_file, keys_folder or paths.keys, _now(), earlier)
    write_atomic(out, msgspec.json.encode(approval))
    fields = {"model": model_name, "approval": str(out.resolve()), "signatures": len(approval.signatures)}
    return _say(as_json, fields, f"{out}: {model_name}, {len(approval.signatures)} signatures")


@keys.command()
@click.argument("model")
@click.argument("release", type=click.IntRange(min=0))
@state_option
@keys_option
@json_option
def withdraw(model: str, release: int, state: Path, keys_folder: Path | None, as_json: bool) -> int:
    """Let devices refuse every approval of MODEL below RELEASE (the UNIX time of an approval)."""
    import msgspec

    from ..controller.ceremony import change_policy
    from ..core.wire.topics import check_name

    check_name(model, what="model")
    paths = fleet_paths(state)

    def raise_floor(policy: Policy) -> Policy:
        return msgspec.structs.replace(policy, floors={**policy.floors, model: release})

    policy = change_policy(paths, keys_folder or paths.keys, raise_floor, _now())
    return _say(as_json, {"floors": policy.floors}, f"{model}: releases below {release} count no more")


@keys.command()
@click.argument("demand", type=click.Choice(["on", "off"]))
@state_option
@keys_option
@json_option
def approvals(demand: str, state: Path, keys_folder: Path | None, as_json: bool) -> int:
    """Whether devices demand the approval of every model by the offline keys."""
    import msgspec

    from ..controller.ceremony import change_policy

    paths = fleet_paths(state)
    policy = change_policy(paths, keys_folder or paths.keys, lambda known: msgspec.structs.replace(known, approvals=demand == "on"), _now())
    return _say(as_json, {"approvals": policy.approvals}, f"approvals are {'demanded' if policy.approvals else 'not demanded'}")


def _say(as_json: bool, fields: dict[str, object], line: str) -> int:
    if as_json:
        print_json(fields)
    else:
        click.echo(line)
    return 0
