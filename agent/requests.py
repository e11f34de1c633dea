"""What the owner asks for, by the wire or by the control socket. In the daemon's loop; each either changes the journal or raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.errors import Reason, Rejected
from ..core.nearest import nearest_hint
from ..core.wire.messages import Command, Desired
from . import steps
from .deployment import is_open
from .journal import ModelRecord
from .lanes import Job

if TYPE_CHECKING:
    from .deployer import Deployer


def want(deployer: Deployer, desired: Desired, digest: str) -> None:
    """A verified goal: remember what is wanted of every model, and begin."""
    journal = deployer.journal
    for name in desired.models:
        journal.models.setdefault(name, ModelRecord())
    for name, record in journal.models.items():
        record.wanted = desired.models.get(name)
    journal.desired_sequence, journal.desired_digest = desired.sequence, digest
    journal.signed_s = max(journal.signed_s, desired.issued_s)
    deployer.save()
    deployer.advance()


def obey(deployer: Deployer, command: Command) -> None:
    """A verified command.

    Raises:
        EdgewrightError: it cannot be done; nothing has changed.
    """
    deployer.journal.command_sequence = command.sequence
    deployer.journal.signed_s = max(deployer.journal.signed_s, command.issued_s)
    deployer.save()
    if command.verb == "cancel":
        cancel(deployer, command.deployment or "", "the fleet's controller")
    elif command.verb == "rollback":
        roll_back(deployer, command.model or "")
    elif command.verb == "release":
        release(deployer, command.model or "")


def cancel(deployer: Deployer, deployment: str, who: str) -> None:
    """End an open deployment; after its activation that means rolling it back.

    Raises:
        Rejected: ``deployment-unknown``.
    """
    for record in deployer.journal.models.values():
        current = record.deployment
        if current is not None and current.order.deployment == deployment and is_open(current.state):
            current.cancel = Reason("cancelled", f"cancelled by {who}", "", "rejected")
            deployer.save()
            deployer.advance()
            return
    raise Rejected("deployment-unknown", f"no open deployment {deployment!r} is here", "edgewright agent jobs lists them")


def roll_back(deployer: Deployer, model: str) -> None:
    """The owner goes back to the previous engine and holds it there until `release`.

    Raises:
        Rejected: ``model-unknown`` or ``model-busy``.
        Unfit: ``no-previous``.
    """
    record = _record(deployer, model)
    if record.deployment is not None and is_open(record.deployment.state):
        message = f"{model!r} is being deployed ({record.deployment.state})"
        raise Rejected("model-busy", message, f"edgewright agent cancel {record.deployment.order.deployment}")
    was_held, record.held = record.held, True
    deployer.save()
    try:
        deployer.slots(model).swap()
    except BaseException:
        record.held = was_held
        deployer.save()
        raise
    _tell_application(deployer, model)
    deployer.parts.changed()


def release(deployer: Deployer, model: str) -> None:
    """The goal applies again: what was rolled back is built and activated once more.

    Raises:
        Rejected: ``model-unknown``.
    """
    _record(deployer, model).held = False
    deployer.save()
    deployer.advance()


def _record(deployer: Deployer, model: str) -> ModelRecord:
    models = deployer.journal.models
    if model not in models:
        hint = nearest_hint(model, models) if models else "Nothing is deployed here"
        raise Rejected("model-unknown", f"there is no model {model!r} on this device", hint)
    return models[model]


def _tell_application(deployer: Deployer, name: str) -> None:
    """There is nothing to fall back to when the activate command fails here: it is reported as a problem."""
    section, slots = deployer.parts.config.model(name), deployer.slots(name)
    running = slots.read().running
    if not section.activate or running is None:
        return
    folder = slots.engines / running.folder

    def failed(reason: Reason) -> None:
        deployer.problems[f"activate-{name}"] = reason
        deployer.parts.changed()

    def done(_: None) -> None:
        deployer.problems.pop(f"activate-{name}", None)

    job = Job(f"activate {name}", lambda _cancel: steps.run_command(section, "activate", section.activate, name, folder), done, failed)
    deployer.parts.lanes.submit("short", job)
