"""What people do by the page: each deed is shown with what it means before it is done, and only to those who may."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from ....core.errors import Rejected
from ....core.profile import ProfileOrder
from ...deeds import ROLE_OF
from ...deployments import DeploymentDetail
from ...inventory import ClassCount, Selector, parse_labels
from ...rollout_plan import RolloutPlan, check_plan
from ..access import Caller
from ..asked import Answer, Asked
from ..shell import Shell, path_of, to, to_login
from ..site import Site

HINT = "Correct the form"
_S = TypeVar("_S", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Meaning:
    """A deed in words: what the button says, what it does, and whether that hurts."""

    button: str
    words: str
    is_grave: bool = False


@dataclass(frozen=True, slots=True)
class ConfirmView:
    """What is about to be done, to what, and where to go back to."""

    deed: str
    subject: str
    meaning: Meaning
    back: str


@dataclass(frozen=True, slots=True)
class StartView:
    """The form that rolls a deployment out again."""

    deployment: DeploymentDetail
    classes: tuple[ClassCount, ...]


ROLLOUT_MEANINGS = {
    "approve": Meaning("Approve", "The wave that waits is released."),
    "pause": Meaning("Pause", "No more devices are released. Those that are released go on."),
    "resume": Meaning("Resume", "The rollout goes on, and what has failed until now is accepted."),
    "retry": Meaning("Retry failed", "Devices that failed or are silent try once more. Those that refused are not asked again."),
    "cancel": Meaning(
        "Cancel", "The rollout ends. Devices that are not done go back to their former goal; who has succeeded keeps the new one.", True
    ),
    "roll_back": Meaning("Roll back", "Every released device gets the goal back that it had before.", True),
}
DEVICE_MEANINGS = {
    "wipe": Meaning("Wipe", "Every model is taken from the device when it connects.", True),
    "revoke": Meaning("Revoke access", "Its login is good no more, and its connection ends. Enrolling it gives it a new one.", True),
    "retire": Meaning("Retire", "The device leaves the fleet: no access, no models, no orders. Its history stays.", True),
}
MODEL_MEANINGS = {
    "rollback": Meaning("Roll back", "The device goes back to the engine that ran before, and stays there until you release it.", True),
    "release": Meaning("Release", "The goal applies again on the device."),
    "remove": Meaning("Remove", "The model is taken from the device.", True),
}
CANCEL_DEPLOYMENT = Meaning("Cancel", "Every device where it is not over ends it; what ran before goes on running.", True)


def rollout_deed(shell: Shell, asked: Asked) -> Answer:
    rollout, deed = asked.parameters["rollout"], asked.parameters["deed"]
    meaning = _meaning(ROLLOUT_MEANINGS, deed)
    view = ConfirmView(deed, rollout, meaning, path_of("rollouts", rollout))
    return _confirmed(shell, asked, view, lambda site, actor: site.deeds.conduct(deed, rollout, actor, site.clock()))  # type: ignore[arg-type] # a key


def device_deed(shell: Shell, asked: Asked) -> Answer:
    device, deed = asked.parameters["device"], asked.parameters["deed"]
    meaning = _meaning(DEVICE_MEANINGS, deed)
    view = ConfirmView(deed, device, meaning, path_of("devices", device))
    return _confirmed(shell, asked, view, lambda site, actor: site.deeds.on_device(deed, device, actor, site.clock()))  # type: ignore[arg-type] # a key


def model_deed(shell: Shell, asked: Asked) -> Answer:
    device, model, deed = (asked.parameters[name] for name in ("device", "model", "deed"))
    meaning = _meaning(MODEL_MEANINGS, deed)
    view = ConfirmView(deed, f"{model} on {device}", meaning, path_of("devices", device))
    act = lambda site, actor: site.deeds.on_model(deed, device, model, actor, site.clock())
    return _confirmed(shell, asked, view, act)


def cancel_deployment(shell: Shell, asked: Asked) -> Answer:
    deployment = asked.parameters["deployment"]
    view = ConfirmView("cancel", deployment, CANCEL_DEPLOYMENT, path_of("deployments", deployment))
    return _confirmed(shell, asked, view, lambda site, actor: site.deeds.cancel_deployment(deployment, actor, site.clock()))


def label(shell: Shell, asked: Asked) -> Answer:
    """Set one label, or take it away where its value is empty."""
    device = asked.parameters["device"]

    def act(site: Site, actor: str) -> str:
        form = asked.form()
        key, value = form.get("key", "").strip(), form.get("value", "").strip()
        site.deeds.label(device, {key: value or None}, actor, site.clock())
        return path_of("devices", device)

    return _done(shell, asked, "label", act)


def profile(shell: Shell, asked: Asked) -> Answer:
    device = asked.parameters["device"]

    def act(site: Site, actor: str) -> str:
        form = asked.form()
        fields = {"model": form.get("model") or None, "seconds": form.get("seconds", "10")}
        site.deeds.profile(device, _converted(fields, ProfileOrder), actor, site.clock())
        return path_of("devices", device)

    return _done(shell, asked, "profile", act)


def start(shell: Shell, asked: Asked) -> Answer:
    """Roll out again what a deployment holds."""
    if asked.method == "GET":
        return shell.page("start.html", _start_view)(asked)

    def act(site: Site, actor: str) -> str:
        form = asked.form()
        selector = Selector(labels=parse_labels(tuple(form.get("labels", "").split())), hardware_class=form.get("class") or None)
        fields = {name: form[name] for name in ("canary", "approval", "on_failure", "on_unproven") if form.get(name)}
        plan = check_plan(_converted(fields, RolloutPlan))
        return path_of("rollouts", site.deeds.start(asked.parameters["deployment"], selector, plan, actor, site.clock()))

    return _done(shell, asked, "start", act)


def _start_view(site: Site, asked: Asked, caller: Caller) -> StartView:
    caller.must(ROLE_OF["start"])
    return StartView(site.deployments.detail(asked.parameters["deployment"]), tuple(site.inventory.hardware_classes()))


def _confirmed(shell: Shell, asked: Asked, view: ConfirmView, act: Callable[[Site, str], object]) -> Answer:
    """Ask first; do it when the answer comes from that very page."""
    if asked.method == "GET":
        return shell.page("confirm.html", lambda _site, _asked, caller: _allowed(view, caller))(asked)

    def done(site: Site, actor: str) -> str:
        act(site, actor)
        return view.back

    return _done(shell, asked, view.deed, done)


def _done(shell: Shell, asked: Asked, deed: str, act: Callable[[Site, str], str]) -> Answer:
    """Carry `act` out for a form of this very login; it says where to go then."""
    caller = shell.site.access.of_browser(asked, shell.site.clock())
    if caller is None:
        return to_login(asked)
    shell.site.access.check_deed(asked, caller)
    caller.must(ROLE_OF[deed])
    return to(act(shell.site, caller.actor))


def _allowed(view: ConfirmView, caller: Caller) -> ConfirmView:
    caller.must(ROLE_OF[view.deed])
    return view


def _meaning(meanings: dict[str, Meaning], deed: str) -> Meaning:
    if deed not in meanings:
        raise Rejected("not-found", f"there is no deed {deed!r}", "Go back")
    return meanings[deed]


def _converted(fields: Mapping[str, str | None], kind: type[_S]) -> _S:
    try:
        return msgspec.convert(fields, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Rejected("form-malformed", f"the form does not fit: {error}", HINT) from error
