"""The actions of the plan, one function each: what it takes to carry one out, in the daemon's loop.

Each returns whether the plan should be asked again at once. Intents are persisted (`happen`) before the effect, results after it; every effect
may be repeated after a crash.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..core.budget import judge
from ..core.errors import EdgewrightError, Reason
from . import steps
from .deployment import Happening
from .journal import DeploymentRecord
from .lanes import Job
from .plan import Action, Verb

if TYPE_CHECKING:
    from .deployer import Deployer

log = logging.getLogger(__name__)


def _start(deployer: Deployer, name: str, _action: Action) -> bool:
    wanted = deployer.journal.models[name].wanted
    assert wanted is not None
    deployer.begin(name, DeploymentRecord(order=wanted, received_s=deployer.parts.clock_s()))
    return True


def _check(deployer: Deployer, name: str, _action: Action) -> bool:
    try:
        deployer.check(deployer.deployment(name))
    except EdgewrightError as error:
        deployer.happen(name, "reject", error.reason)
    else:
        deployer.happen(name, "accept")
    return True


def _download(deployer: Deployer, name: str, _action: Action) -> bool:
    assert deployer.downloads is not None
    deployer.happen(name, "download")
    resume_download(deployer, name)
    return True


def resume_download(deployer: Deployer, name: str) -> None:
    """Begin or go on with the transfer of a deployment that is DOWNLOADING."""
    assert deployer.downloads is not None
    if deployer.downloads.model != name:
        deployer.downloads.start(name, deployer.deployment(name).order)
    else:
        deployer.downloads.pump()


def _pause(deployer: Deployer, name: str, _action: Action) -> bool:
    deployer.happen(name, "pause", Reason("link-down", "the connection to the broker is down", "The transfer goes on when it is back", "unfit"))
    return True


def _resume(deployer: Deployer, name: str, _action: Action) -> bool:
    assert deployer.downloads is not None
    if deployer.downloads.model not in {"", name}:
        return False
    deployer.happen(name, "resume")
    resume_download(deployer, name)
    return True


def download_ended(deployer: Deployer, name: str, reason: Reason | None) -> None:
    """The transfer is over: complete, or refused."""
    state = deployer.deployment(name).state
    if state == "PAUSED":
        deployer.happen(name, "resume")
    elif state != "DOWNLOADING":
        return
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


def _build(deployer: Deployer, name: str, _action: Action) -> bool:
    deployment = deployer.deployment(name)
    if deployment.state == "VERIFIED":
        deployer.happen(name, "optimize")
        deployment = deployer.deployment(name)
    config, store, order, work = deployer.parts.config, deployer.parts.store, deployment.order, deployer.work(deployment)
    runtime = deployer.runtime

    def progress(share: float, note: str) -> None:
        deployer.progress_notes[name] = (share, note)

    def run(cancel: threading.Event) -> object:
        return steps.build(config, store, name, order, work, progress, cancel)

    def done(result: object) -> None:
        assert isinstance(result, steps.BuildOutcome)
        deployer.happen(
            name,
            "measured",
            measurement=result.measurement,
            notes=result.notes[:100],
            built=result.folder.name if result.folder is not None else "",
            engine_digest=result.engine_digest,
            runtime=runtime,
        )

    deployer.submit("build", name, Job(f"build {name}", run, done, lambda reason: _build_failed(deployer, name, reason)))
    return False


def _build_failed(deployer: Deployer, name: str, reason: Reason) -> None:
    # A cancel that came from the plan (cancelled, superseded, removed, too late) has its own words there.
    if reason.code != "cancelled":
        deployer.happen(name, _failure(reason), reason)


def _gate(deployer: Deployer, name: str, _action: Action) -> bool:
    """The gate judges again here what the worker has measured: the daemon trusts numbers, not a verdict."""
    deployment = deployer.deployment(name)
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


def _stage(deployer: Deployer, name: str, _action: Action) -> bool:
    deployment = deployer.deployment(name)
    built = deployer.work(deployment) / "out" / deployment.built
    target = deployment.engine_folder
    slots = deployer.slots(name)
    if not built.is_dir() and not (slots.engines / target).is_dir():
        deployer.happen(name, "fail", Reason("engine-lost", "the built engine has gone from the disk", "Send the deployment again", "unfit"))
        return True

    job: Job[object] = Job(
        f"stage {name}",
        lambda _cancel: slots.stage(built, target),
        lambda _: deployer.happen(name, "stage"),
        lambda reason: deployer.happen(name, "fail", reason),
    )
    deployer.submit("short", name, job)
    return False


def _activate(deployer: Deployer, name: str, _action: Action) -> bool:
    deployer.happen(name, "activate")
    return True


def _probe(deployer: Deployer, name: str, _action: Action) -> bool:
    """ACTIVATING: switch the link, tell the application, and load the engine once."""
    deployment = deployer.deployment(name)
    slot, slots = deployer.trial_slot(deployment), deployer.slots(name)
    section = deployer.parts.config.model(name)
    folder = slots.engines / slot.folder

    def run(cancel: threading.Event) -> object:
        trial = slots.read().trial
        if trial is None or trial.folder != slot.folder:
            slots.begin_trial(slot)
        if section.activate:
            steps.run_command(section, "activate", section.activate, name, folder)
        steps.probe(folder, cancel)
        return None

    deployer.submit(
        "short", name, Job(f"activate {name}", run, lambda _: deployer.happen(name, "probe"), lambda reason: _start_undo(deployer, name, reason))
    )
    return False


def _watch(deployer: Deployer, name: str, _action: Action) -> bool:
    """PROBATION: the health command decides; without one, time, and a last look whether the engine still loads."""
    deployment, section = deployer.deployment(name), deployer.parts.config.model(name)
    folder = deployer.slots(name).engines / deployment.engine_folder
    is_over = deployment.probation_s >= deployer.probation_limit_s(deployment)
    if not is_over and not (section.health and deployer.watch_due(name)):
        return False

    def run(cancel: threading.Event) -> object:
        if section.health:
            steps.run_command(section, "health", section.health, name, folder)
        if is_over:
            steps.probe(folder, cancel)
        return None

    def done(_: object) -> None:
        if is_over:
            deployer.slots(name).confirm()
            deployer.happen(name, "confirm")

    deployer.submit("short", name, Job(f"probation {name}", run, done, lambda reason: _start_undo(deployer, name, reason)))
    return False


def _start_undo(deployer: Deployer, name: str, reason: Reason) -> None:
    if reason.code != "cancelled":
        deployer.happen(name, "roll_back", reason, undo=reason)


def _undo(deployer: Deployer, name: str, action: Action) -> bool:
    """Take a trial out: back to what was active, and tell the application."""
    if action.happening is not None:
        deployer.happen(name, action.happening, action.reason, undo=action.reason)
    deployment, slots, section = deployer.deployment(name), deployer.slots(name), deployer.parts.config.model(name)
    why = deployment.undo or Reason("unknown", "the reason was lost", "", "faulty")

    def run(_cancel: threading.Event) -> object:
        slots.abandon_trial()
        active = slots.read().active
        if section.activate and active is not None:
            steps.run_command(section, "activate", section.activate, name, slots.engines / active.folder)
        return None

    def done(_: object) -> None:
        end = Reason("rolled-back", f"rolled back: {why.message}", why.next, why.family)
        deployer.happen(name, "rolled_back", end)

    def failed(reason: Reason) -> None:
        log.error("%s: the activate command failed during the roll-back: %s", name, reason.line())
        done(None)

    deployer.submit("short", name, Job(f"roll back {name}", run, done, failed))
    return False


def _end(deployer: Deployer, name: str, action: Action) -> bool:
    assert action.happening is not None
    deployer.happen(name, action.happening, action.reason)
    return True


def _remove(deployer: Deployer, name: str, _action: Action) -> bool:
    deployer.forget(name)
    return False


def _retry(deployer: Deployer, name: str, action: Action) -> bool:
    deployment = deployer.deployment(name)
    fresh: dict[str, object] = {"measurement": None, "built": "", "engine_digest": "", "elapsed_s": 0.0, "probation_s": 0.0}
    deployer.happen(name, "retry", action.reason, attempt=deployment.attempt + 1, **fresh)
    return True


ACTIONS: dict[Verb, Callable[[Deployer, str, Action], bool]] = {
    "start": _start,
    "check": _check,
    "download": _download,
    "pause": _pause,
    "resume": _resume,
    "build": _build,
    "gate": _gate,
    "stage": _stage,
    "activate": _activate,
    "probe": _probe,
    "watch": _watch,
    "undo": _undo,
    "end": _end,
    "remove": _remove,
    "retry": _retry,
}
