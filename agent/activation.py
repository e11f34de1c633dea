"""The actions from the built engine on: into a slot, on trial, confirmed, or taken out again. The device changes here, and only here.

The same contract as in `actions`.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from ..core.errors import EdgewrightError, Reason, Unfit
from .journal import DeploymentRecord
from .lanes import Job
from .logs import about
from .plan import Action
from .slots import ModelSlots, Slot
from .steps import Steps
from .version import UNHEARD_S

if TYPE_CHECKING:
    from .deployer import Deployer

log = logging.getLogger(__name__)


def stage(deployer: Deployer, name: str, _action: Action) -> bool:
    """GATED: move the engine to where the application will find it."""
    deployment, slots = deployer.deployment(name), deployer.slots(name)
    built, target = deployer.work(name) / "out" / deployment.built, deployment.engine_folder

    def run(_cancel: threading.Event) -> None:
        slots.stage(built, target)

    def failed(reason: Reason) -> None:
        if reason.code != "cancelled":  # a cancel has its own words in the plan
            deployer.happen(name, "fail", reason)

    deployer.submit("short", name, Job(f"stage {name}", run, lambda _: deployer.happen(name, "stage"), failed))
    return False


def activate(deployer: Deployer, name: str, _action: Action) -> bool:
    """STAGED: say that the device is about to change."""
    deployer.happen(name, "activate")
    return True


def probe(deployer: Deployer, name: str, _action: Action) -> bool:
    """ACTIVATING: switch the link, tell the application, and load the engine once."""
    slot, slots, steps = _trial_slot(deployer, deployer.deployment(name)), deployer.slots(name), deployer.parts.steps
    folder = slots.engines / slot.folder

    def run(cancel: threading.Event) -> None:
        slots.begin_trial(slot)
        steps.command(name, "activate", folder, cancel)
        steps.probe(folder, cancel)

    job = Job(f"activate {name}", run, lambda _: deployer.happen(name, "probe"), lambda reason: _roll_back(deployer, name, reason))
    deployer.submit("short", name, job)
    return False


def _trial_slot(deployer: Deployer, deployment: DeploymentRecord) -> Slot:
    chosen = deployment.measurement.chosen if deployment.measurement else None
    return Slot(
        folder=deployment.engine_folder,
        deployment=deployment.order.deployment,
        version=deployment.order.version,
        backend=chosen.backend if chosen else "",
        engine_digest=deployment.engine_digest,
        since_s=deployer.parts.clock_s(),
        runtime=deployment.runtime,
    )


def watch(deployer: Deployer, name: str, _action: Action) -> bool:
    """PROBATION: the health command decides; without one, time, and a last look whether the engine still loads."""
    deployment, section, steps = deployer.deployment(name), deployer.parts.config.model(name), deployer.parts.steps
    target, slots = deployment.engine_folder, deployer.slots(name)
    folder = slots.engines / target
    is_over = deployment.probation_s >= deployer.probation_limit_s(deployment)
    if deployment.order.kind == "agent" and not deployer.is_link_up:
        if deployment.probation_s > deployer.probation_limit_s(deployment) + UNHEARD_S:
            message = f"this version of the agent did not reach the controller within {deployment.probation_s:.0f} s"
            _roll_back(deployer, name, Reason("agent-unheard", message, "Read its log on the device", "faulty"))
        return False
    if not is_over and not (section.health and deployer.watch_due(name)):
        return False

    def run(cancel: threading.Event) -> None:
        steps.command(name, "health", folder, cancel)
        if is_over:
            steps.probe(folder, cancel)

    def done(_: None) -> None:
        # Whoever took it out meanwhile left word in the slots: the plan reads it.
        if is_over and slots.confirm(target):
            deployer.happen(name, "confirm", runtime=deployment.runtime or deployer.runtime_of(name))

    deployer.submit("short", name, Job(f"probation {name}", run, done, lambda reason: _roll_back(deployer, name, reason)))
    return False


def _roll_back(deployer: Deployer, name: str, reason: Reason) -> None:
    """A step on the device failed. A cancel has its own words in the plan."""
    if reason.code != "cancelled":
        deployer.happen(name, "roll_back", reason, undo=reason)


def undo(deployer: Deployer, name: str, action: Action) -> bool:
    """Take a trial out: back to what was active, and tell the application."""
    if action.happening is not None:
        deployer.happen(name, action.happening, action.reason, undo=action.reason)
    deployment, slots, steps = deployer.deployment(name), deployer.slots(name), deployer.parts.steps
    why = deployment.undo or Reason("unknown", "the reason was lost", "", "faulty")

    def run(cancel: threading.Event) -> Reason | None:
        slots.take_out(deployment.engine_folder)
        return _tell_application(steps, slots, name, cancel)

    def done(trouble: Reason | None) -> None:
        _note_trouble(deployer, name, trouble)
        deployer.happen(name, "rolled_back", Reason("rolled-back", f"rolled back: {why.message}", why.next, why.family))

    # What was on trial is still in when this fails: it is tried again, and never passed over.
    deployer.submit("short", name, Job(f"roll back {name}", run, done, lambda reason: deployer.put_off(name, reason)))
    return False


def fall_back(deployer: Deployer, name: str, _action: Action) -> bool:
    """The owner's roll-back, which the journal has: previous becomes active, and the application is told."""
    slots, steps, leaving = deployer.slots(name), deployer.parts.steps, deployer.journal.models[name].leaving
    try:
        slots.fall_back(leaving)
    except Unfit as error:
        if error.code != "no-previous":
            raise
        deployer.ledger.commit_model(name, leaving="", held=False)
        deployer.note(f"rollback-{name}", error.reason)
        return True

    def done(trouble: Reason | None) -> None:
        _note_trouble(deployer, name, trouble)
        deployer.ledger.commit_model(name, leaving="")
        deployer.parts.changed()

    def run(cancel: threading.Event) -> Reason | None:
        return _tell_application(steps, slots, name, cancel)

    deployer.note(f"rollback-{name}", None)
    deployer.submit("short", name, Job(f"fall back {name}", run, done, lambda reason: deployer.put_off(name, reason)))
    return False


def go_back(deployer: Deployer, name: str, _action: Action) -> bool:
    """The goal is again what ran before, whose engine is still here: nothing is fetched or built. Only the intent; `fall_back` carries it out."""
    former, active = deployer.journal.models[name].former, deployer.slots(name).read().active
    assert former is not None
    assert active is not None
    deployer.ledger.commit_model(name, deployment=former, proven=former, former=None, settled=former.order.key, leaving=active.folder)
    return True


def _tell_application(steps: Steps, slots: ModelSlots, name: str, cancel: threading.Event) -> Reason | None:
    """Run the activate command for what runs now. There is nothing left to fall back to when it fails: its reason is returned."""
    running = slots.read().running
    if running is None:
        return None
    try:
        steps.command(name, "activate", slots.engines / running.folder, cancel)
    except EdgewrightError as error:
        return error.reason
    return None


def _note_trouble(deployer: Deployer, name: str, trouble: Reason | None) -> None:
    if trouble is not None:
        log.error("%s: the application could not be told: %s", name, trouble.line(), extra=about(name, reason=trouble))
    deployer.note(f"activate-{name}", trouble)
