"""The actions of the plan, one function each: what it takes to carry one out, in the daemon's loop. From activation on they are in `activation`.

Each returns whether the plan should be asked again at once. Intents are persisted (`happen`) before the effect, results after it; every effect
may be repeated after a crash.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ..core.budget import judge
from ..core.errors import EdgewrightError, Reason
from ..core.files import sync_folder, sync_tree
from . import activation, upkeep
from .acceptance import check_order
from .deployment import Happening, after
from .journal import DeploymentRecord
from .lanes import Job
from .plan import Action, Verb
from .steps import BuildOutcome

if TYPE_CHECKING:
    from .deployer import Deployer

MAX_NOTES = 100


def _start(deployer: Deployer, name: str, _action: Action) -> bool:
    """A new deployment takes the place of the last one's record."""
    record = deployer.journal.models[name]
    assert record.wanted is not None
    slots = deployer.slots(name).read()
    used = [slot.folder for slot in (slots.active, slots.previous, slots.trial) if slot is not None]
    used += [entry.engine_folder for entry in (record.deployment, record.proven) if entry is not None]
    attempt = next_attempt(record.wanted.deployment, used)
    fresh = DeploymentRecord(order=record.wanted, attempt=attempt, received_s=deployer.parts.clock_s())
    deployer.record(name, fresh, settled="")
    return True


def next_attempt(deployment: str, folders: Iterable[str]) -> int:
    """A number that none of the engine folders of `deployment` has: what was there before must not be taken for the new one."""
    numbers = (folder.removeprefix(f"{deployment}-") for folder in folders if folder.startswith(f"{deployment}-"))
    return 1 + max((int(number) for number in numbers if number.isdecimal()), default=0)


def _retry(deployer: Deployer, name: str, action: Action) -> bool:
    """What succeeded once is built again. That it was tried under this runtime is written down at once: it is tried once."""
    proven = deployer.journal.models[name].proven
    assert proven is not None
    tried = msgspec.structs.replace(proven, attempt=proven.attempt + 1, runtime=deployer.runtime_of(name))
    fresh = DeploymentRecord(
        order=proven.order,
        attempt=tried.attempt,
        state=after(proven.state, "retry"),
        reason=action.reason,
        received_s=proven.received_s,
        runtime=deployer.runtime_of(name),
    )
    deployer.record(name, fresh, proven=tried)
    return True


def _check(deployer: Deployer, name: str, _action: Action) -> bool:
    try:
        check_order(deployer.deployment(name).order, deployer.parts.config, deployer.parts.store)
    except EdgewrightError as error:
        deployer.happen(name, "reject", error.reason)
    else:
        deployer.happen(name, "accept")
    return True


# --- the transfer ---


def _download(deployer: Deployer, name: str, _action: Action) -> bool:
    deployer.happen(name, "download")
    return True


def _fetch(deployer: Deployer, name: str, _action: Action) -> bool:
    deployer.downloads.start(name, deployer.deployment(name).order)
    return True


def _pause(deployer: Deployer, name: str, _action: Action) -> bool:
    held = deployer.why_held(name)
    deployer.happen(
        name, "pause", held or Reason("link-down", "the connection to the broker is down", "The transfer goes on when it is back", "unfit")
    )
    return True


def _resume(deployer: Deployer, name: str, _action: Action) -> bool:
    deployer.happen(name, "resume")
    deployer.downloads.pump()
    return True


def download_ended(deployer: Deployer, name: str, reason: Reason | None) -> None:
    """The transfer is over: complete, or failed. When that cannot be written down, the transfer is begun again later and ends the same way."""
    with deployer.guarded(name):
        if deployer.deployment(name).state == "PAUSED":
            deployer.happen(name, "resume")
        if reason is None:
            deployer.happen(name, "downloaded")
        else:
            deployer.happen(name, _failure(reason), reason)
    deployer.advance()


def _failure(reason: Reason) -> Happening:
    """How a failure before activation ends: the sender's fault is a refusal, which is never retried."""
    if reason.code == "cancelled":
        return "cancel"
    if reason.code == "timed-out":
        return "time_out"
    return "reject" if reason.family == "rejected" else "fail"


# --- the build ---


def _build(deployer: Deployer, name: str, _action: Action) -> bool:
    if deployer.deployment(name).state == "VERIFIED":
        deployer.happen(name, "optimize")
    steps, order, work = deployer.parts.steps, deployer.deployment(name).order, deployer.work(name)

    def progress(share: float, note: str) -> None:
        deployer.parts.post(lambda: deployer.building(name, share, note))

    def run(cancel: threading.Event) -> BuildOutcome:
        outcome = steps.build(name, order, work, progress, cancel)
        if outcome.folder is not None:
            _keep(outcome.folder, work)
        return outcome

    def done(outcome: BuildOutcome) -> None:
        deployer.happen(
            name,
            "measured",
            measurement=outcome.measurement,
            notes=outcome.notes[:MAX_NOTES],
            built=outcome.folder.name if outcome.folder is not None else "",
            engine_digest=outcome.engine_digest,
            runtime=deployer.runtime_of(name),
        )

    def failed(reason: Reason) -> None:
        # A cancel that came from the plan (cancelled, superseded, removed, too late) has its own words there.
        if reason.code != "cancelled":
            deployer.happen(name, _failure(reason), reason)

    job: Job[Any] = Job(f"build {name}", run, done, failed)
    deployer.submit("build", name, job)
    return False


def _keep(built: Path, work: Path) -> None:
    """What the journal will say that is built must be there after a power cut: the engine, and every folder down to it."""
    sync_tree(built)
    for folder in built.parents:
        sync_folder(folder)
        if folder == work.parent.parent:
            return


def _gate(deployer: Deployer, name: str, _action: Action) -> bool:
    """The gate judges again here what the worker has measured: the daemon trusts numbers, not a verdict."""
    deployment = deployer.deployment(name)
    if deployment.order.kind == "agent":  # nothing is measured: it was installed, and it starts
        deployer.happen(name, "gate_passed")
        return True
    measurement = deployment.measurement
    chosen = measurement.chosen if measurement is not None else None
    if chosen is None:
        deployer.happen(name, "reject", Reason("nothing-built", "no engine could be built", "See the deployment's notes", "rejected"))
        return True
    verdict = judge(chosen, deployment.order.budget)
    if verdict.accepted and deployment.built:
        deployer.happen(name, "gate_passed")
        return True
    reason = verdict.reasons[0] if verdict.reasons else Reason("nothing-built", "no engine could be built", "See the notes", "rejected")
    message = "; ".join(entry.message for entry in verdict.reasons) or reason.message
    deployer.happen(name, "reject", Reason("budget", message, reason.next, "rejected"))
    return True


# --- the ends ---


def _end(deployer: Deployer, name: str, action: Action) -> bool:
    assert action.happening is not None
    deployer.happen(name, action.happening, action.reason)
    return True


def _remove(deployer: Deployer, name: str, _action: Action) -> bool:
    """The model leaves this device. A crash in between leaves a model that is not wanted: it is removed again."""
    # What this very process runs from goes at the next start, which finds a model that nobody wants.
    deployer.slots(name).remove(keep=deployer.parts.running_version)
    deployer.ledger.remove_model(name)
    upkeep.collect(deployer)
    deployer.parts.changed()
    return True


ACTIONS: dict[Verb, Callable[[Deployer, str, Action], bool]] = {
    "start": _start,
    "retry": _retry,
    "check": _check,
    "download": _download,
    "fetch": _fetch,
    "pause": _pause,
    "resume": _resume,
    "build": _build,
    "gate": _gate,
    "end": _end,
    "remove": _remove,
    "stage": activation.stage,
    "activate": activation.activate,
    "probe": activation.probe,
    "watch": activation.watch,
    "undo": activation.undo,
    "fall_back": activation.fall_back,
    "return": activation.go_back,
}
