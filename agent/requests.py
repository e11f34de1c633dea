"""What the owner asks for, by the wire or by the control socket. In the daemon's loop; each either changes the journal, in one write, or raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ..core.errors import EdgewrightError, Reason, Rejected, Unfit
from ..core.nearest import nearest_hint
from ..core.wire.messages import Command, Desired
from .deployment import is_open
from .journal import Answer, Journal, ModelRecord

if TYPE_CHECKING:
    from .deployer import Deployer

MAX_ANSWERS = 16


def want(deployer: Deployer, desired: Desired, digest: str) -> None:
    """A verified goal: remember what is wanted of every model, and begin.

    Raises:
        Rejected: ``envelope-replayed``: a newer one was accepted while this one was being verified.
        Unfit: the journal could not be written.
    """
    journal = deployer.journal
    _refuse_replay("desired", desired.sequence, journal.desired_sequence)
    names = dict.fromkeys([*journal.models, *desired.models])
    models = {name: msgspec.structs.replace(journal.models.get(name, ModelRecord()), wanted=desired.models.get(name)) for name in names}
    deployer.ledger.commit(
        models=models,
        desired_sequence=desired.sequence,
        desired_digest=digest,
        wipe=max(journal.wipe, desired.wipe),
        signed_s=max(journal.signed_s, desired.issued_s),
    )
    deployer.parts.changed()
    deployer.advance()


def obey(deployer: Deployer, command: Command) -> Reason | None:
    """A verified command. Returns its answer: None when it was obeyed, or why it cannot be.

    What it changes and its answer are one write, so that it is obeyed once, however often it comes, and is answered every time.

    Raises:
        Rejected: ``envelope-replayed``.
        Unfit: the journal could not be written; nothing has changed.
    """
    journal = deployer.journal
    _refuse_replay("command", command.sequence, journal.command_sequence)
    mark: dict[str, Any] = {"command_sequence": command.sequence, "signed_s": max(journal.signed_s, command.issued_s)}
    known = next((answer for answer in journal.answers if answer.command == command.id), None)
    if known is not None:
        deployer.ledger.commit(**mark)
        return known.reason
    try:
        _obey(deployer, command, mark | {"answers": _with_answer(journal, command.id, None)})
    except EdgewrightError as error:
        deployer.ledger.commit(**mark, answers=_with_answer(journal, command.id, error.reason))
        return error.reason
    return None


def _with_answer(journal: Journal, command: str, reason: Reason | None) -> tuple[Answer, ...]:
    return (*journal.answers[1 - MAX_ANSWERS :], Answer(command, reason))


def _obey(deployer: Deployer, command: Command, mark: dict[str, Any]) -> None:
    if command.verb == "cancel":
        cancel(deployer, command.deployment or "", "the fleet's controller", **mark)
    elif command.verb == "rollback":
        roll_back(deployer, command.model or "", **mark)
    elif command.verb == "release":
        release(deployer, command.model or "", **mark)
    elif command.verb == "profile":
        begin = deployer.parts.prepare_profile(command)
        deployer.ledger.commit(**mark)
        begin()
    else:
        deployer.ledger.commit(**mark)  # a report is due after every command


def _refuse_replay(kind: str, sequence: int, last: int) -> None:
    if sequence <= last:
        message = f"the {kind} message has sequence {sequence}, and {last} was accepted already"
        raise Rejected("envelope-replayed", message, "Old messages are ignored; check who replays them")


def cancel(deployer: Deployer, deployment: str, who: str, **mark: Any) -> None:
    """End an open deployment; after its activation that means rolling it back.

    Raises:
        Rejected: ``deployment-unknown``.
    """
    for name, record in deployer.journal.models.items():
        current = record.deployment
        if current is not None and current.order.deployment == deployment and is_open(current.state):
            reason = Reason("cancelled", f"cancelled by {who}", "", "rejected")
            _change(deployer, name, mark, deployment=msgspec.structs.replace(current, cancel=reason))
            return
    raise Rejected("deployment-unknown", f"no open deployment {deployment!r} is here", "edgewright agent jobs lists them")


def roll_back(deployer: Deployer, model: str, **mark: Any) -> None:
    """The owner goes back to the previous engine and holds it there until `release`.

    Raises:
        Rejected: ``model-unknown`` or ``model-busy``.
        Unfit: ``no-previous``.
    """
    record = _record(deployer, model)
    if record.deployment is not None and is_open(record.deployment.state):
        message = f"{model!r} is being deployed ({record.deployment.state})"
        raise Rejected("model-busy", message, f"edgewright agent cancel {record.deployment.order.deployment}")
    if record.leaving:
        raise Rejected("model-busy", f"{model!r} is being rolled back already", "edgewright agent status shows what runs")
    slots = deployer.slots(model).read()
    if slots.active is None or slots.previous is None:
        raise Unfit("no-previous", f"{model!r} has no previous engine to go back to", "Deploy another version")
    _change(deployer, model, mark, held=True, leaving=slots.active.folder)


def release(deployer: Deployer, model: str, **mark: Any) -> None:
    """The goal applies again: what was rolled back is built and activated once more.

    Raises:
        Rejected: ``model-unknown``.
    """
    _record(deployer, model)
    _change(deployer, model, mark, held=False)


def _change(deployer: Deployer, name: str, mark: dict[str, Any], **changes: Any) -> None:
    """One write, and on with it, whatever the model was put off for."""
    record = msgspec.structs.replace(deployer.journal.models[name], **changes)
    deployer.ledger.commit(models={**deployer.journal.models, name: record}, **mark)
    deployer.parts.changed()
    deployer.hurry(name)
    deployer.advance()


def _record(deployer: Deployer, model: str) -> ModelRecord:
    models = deployer.journal.models
    if model not in models:
        hint = nearest_hint(model, models) if models else "Nothing is deployed here"
        raise Rejected("model-unknown", f"there is no model {model!r} on this device", hint)
    return models[model]
