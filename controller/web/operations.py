"""What the REST interface can do: a table of operations, each a few lines over what the command line uses as well."""

from __future__ import annotations

from ...core.profile import ProfileOrder
from ..deeds import DEVICE_DEEDS, MODEL_DEEDS, ROLE_OF, ROLLOUT_DEEDS, DeviceDeed, ModelDeed, RolloutDeed
from ..history import DeviceDetail
from ..inventory import DeviceQuery, parse_labels
from ..overview import FleetOverview
from ..rollout_plan import check_plan
from ..rollouts import RolloutView
from .operation import Call, Method, Nothing, Operation
from .questions import (
    Answered,
    AskAudit,
    AskCommand,
    AskDeployment,
    AskDeployments,
    AskDevice,
    AskDeviceEvents,
    AskDeviceModel,
    AskDevices,
    AskDeviceTail,
    AskLatest,
    AskMeasurements,
    AskMembers,
    AskNothing,
    AskRollout,
    AskTargets,
    AuditEntries,
    Commands,
    DeploymentAnswer,
    DeploymentList,
    Devices,
    Events,
    LabelChanges,
    Labels,
    MeasurementList,
    Members,
    Ordered,
    RolloutList,
    RolloutStart,
    Targets,
    Telemetries,
)

# --- reading ---------------------------------------------------------------------------------------------------------------------------


def _overview(call: Call[AskNothing, Nothing]) -> FleetOverview:
    return call.site.overview.look(call.now_s)


def _devices(call: Call[AskDevices, Nothing]) -> Devices:
    query = DeviceQuery(
        text=call.ask.text,
        labels=parse_labels(call.ask.label),
        hardware_class=call.ask.hardware_class,
        online=call.ask.online,
        retired=call.ask.retired,
    )
    page = call.site.inventory.search(query, after=call.ask.after, limit=call.ask.limit)
    return Devices(devices=page.devices, total=page.total, next=page.devices[-1].name if len(page.devices) == call.ask.limit else None)


def _device(call: Call[AskDevice, Nothing]) -> DeviceDetail:
    return call.site.history.detail(call.ask.device)


def _events(call: Call[AskDeviceEvents, Nothing]) -> Events:
    found = tuple(call.site.history.events(call.site.history.detail(call.ask.device).name, before=call.ask.before, limit=call.ask.limit))
    return Events(events=found, next=found[-1].sequence if len(found) == call.ask.limit else None)


def _telemetry(call: Call[AskDeviceTail, Nothing]) -> Telemetries:
    return Telemetries(telemetry=tuple(call.site.history.telemetry(call.site.history.detail(call.ask.device).name, limit=call.ask.limit)))


def _commands(call: Call[AskDeviceTail, Nothing]) -> Commands:
    return Commands(commands=tuple(call.site.history.commands(call.site.history.detail(call.ask.device).name, limit=call.ask.limit)))


def _command(call: Call[AskCommand, Nothing]) -> Answered:
    return Answered(reply=call.site.reports.reply(call.ask.command), profile=call.site.reports.profile(call.ask.command))


def _rollouts(call: Call[AskLatest, Nothing]) -> RolloutList:
    return RolloutList(rollouts=tuple(call.site.rollouts.all(call.now_s, limit=call.ask.limit)))


def _rollout(call: Call[AskRollout, Nothing]) -> RolloutView:
    return call.site.rollouts.view(call.ask.rollout, call.now_s)


def _members(call: Call[AskMembers, Nothing]) -> Members:
    found = tuple(
        call.site.rollouts.members(call.ask.rollout, wave=call.ask.wave, states=call.ask.state, after_device=call.ask.after, limit=call.ask.limit)
    )
    return Members(members=found, next=found[-1].device if len(found) == call.ask.limit else None)


def _deployments(call: Call[AskDeployments, Nothing]) -> DeploymentList:
    found = tuple(call.site.deployments.all(after=call.ask.after, limit=call.ask.limit))
    return DeploymentList(deployments=found, next=found[-1].deployment if len(found) == call.ask.limit else None)


def _deployment(call: Call[AskDeployment, Nothing]) -> DeploymentAnswer:
    detail = call.site.deployments.detail(call.ask.deployment)
    engines, measured = call.site.comparison.of_deployment(detail.deployment), call.site.comparison.points(detail.deployment)
    return DeploymentAnswer(deployment=detail, engines=tuple(engines), measured=tuple(measured))


def _targets(call: Call[AskTargets, Nothing]) -> Targets:
    found = tuple(call.site.deployments.targets(call.ask.deployment, states=call.ask.state, after=call.ask.after, limit=call.ask.limit))
    return Targets(devices=found, next=found[-1].device if len(found) == call.ask.limit else None)


def _measurements(call: Call[AskMeasurements, Nothing]) -> MeasurementList:
    deployment, _, device = call.ask.after.partition(" ")
    found = tuple(
        call.site.measurements.page(deployment=call.ask.deployment, device=call.ask.device, after=(deployment, device), limit=call.ask.limit)
    )
    return MeasurementList(measurements=found, next=f"{found[-1].deployment} {found[-1].device}" if len(found) == call.ask.limit else None)


def _audit(call: Call[AskAudit, Nothing]) -> AuditEntries:
    found = tuple(call.site.audit.entries(call.ask.subject, before=call.ask.before, limit=call.ask.limit))
    return AuditEntries(entries=found, next=found[-1].id if len(found) == call.ask.limit else None)


# --- ordering --------------------------------------------------------------------------------------------------------------------------


def _label(call: Call[AskDevice, LabelChanges]) -> Labels:
    return Labels(labels=call.site.deeds.label(call.ask.device, call.body.labels, call.actor, call.now_s))


def _profile(call: Call[AskDevice, ProfileOrder]) -> Ordered:
    return Ordered(commands=(call.site.deeds.profile(call.ask.device, call.body, call.actor, call.now_s),))


def _start(call: Call[AskNothing, RolloutStart]) -> RolloutView:
    identity = call.site.deeds.start(call.body.deployment, call.body.selector, check_plan(call.body.plan), call.actor, call.now_s)
    return call.site.rollouts.view(identity, call.now_s)


def _cancel_deployment(call: Call[AskDeployment, Nothing]) -> Ordered:
    return Ordered(commands=call.site.deeds.cancel_deployment(call.ask.deployment, call.actor, call.now_s))


def _rollout_deed(deed: RolloutDeed) -> Operation:
    def run(call: Call[AskRollout, Nothing]) -> RolloutView:
        call.site.deeds.conduct(deed, call.ask.rollout, call.actor, call.now_s)
        return call.site.rollouts.view(call.ask.rollout, call.now_s)

    words = {
        "approve": "Let the wave go that waits for approval",
        "pause": "Release no more devices",
        "resume": "Go on; what has failed until now is accepted",
        "retry": "Try failed and silent devices again",
        "cancel": "End it: who is not done goes back to its former goal",
        "roll_back": "Give every released device the goal that it had before",
    }[deed]
    path = f"/rollouts/{{rollout}}/{deed.replace('_', '-')}"
    return Operation(f"{deed}_rollout", "POST", path, "rollouts", ROLE_OF[deed], words, AskRollout, RolloutView, run)


def _device_deed(deed: DeviceDeed) -> Operation:
    def run(call: Call[AskDevice, Nothing]) -> Ordered:
        call.site.deeds.on_device(deed, call.ask.device, call.actor, call.now_s)
        return Ordered(commands=())

    words = {"wipe": "Take every model from it", "revoke": "Take its access: its connection ends", "retire": "Let it leave the fleet"}[deed]
    return Operation(f"{deed}_device", "POST", f"/devices/{{device}}/{deed}", "devices", ROLE_OF[deed], words, AskDevice, Ordered, run)


def _model_deed(deed: ModelDeed) -> Operation:
    def run(call: Call[AskDeviceModel, Nothing]) -> Ordered:
        command = call.site.deeds.on_model(deed, call.ask.device, call.ask.model, call.actor, call.now_s)
        return Ordered(commands=() if command is None else (command,))

    words = {
        "rollback": "Go back to the engine that ran before, until it is released",
        "release": "Let the goal apply again",
        "remove": "Take the model from the device",
    }[deed]
    method: Method = "DELETE" if deed == "remove" else "POST"
    path = "/devices/{device}/models/{model}" + ("" if deed == "remove" else f"/{deed}")
    return Operation(f"{deed}_model", method, path, "devices", ROLE_OF[deed], words, AskDeviceModel, Ordered, run)


OPERATIONS: tuple[Operation, ...] = (
    Operation("get_overview", "GET", "/overview", "fleet", "viewer", "The whole fleet at one look", AskNothing, FleetOverview, _overview),
    Operation("list_devices", "GET", "/devices", "devices", "viewer", "Devices by name, label, class or presence", AskDevices, Devices, _devices),
    Operation("get_device", "GET", "/devices/{device}", "devices", "viewer", "One device as it last was", AskDevice, DeviceDetail, _device),
    Operation("list_events", "GET", "/devices/{device}/events", "devices", "viewer", "Its state changes", AskDeviceEvents, Events, _events),
    Operation("list_telemetry", "GET", "/devices/{device}/telemetry", "devices", "viewer", "Its health", AskDeviceTail, Telemetries, _telemetry),
    Operation("list_commands", "GET", "/devices/{device}/commands", "devices", "viewer", "Its commands", AskDeviceTail, Commands, _commands),
    Operation(
        "label_device", "PATCH", "/devices/{device}/labels", "devices", "operator", "Set labels",
        AskDevice, Labels, _label, LabelChanges,
    ),
    Operation(
        "profile_device", "POST", "/devices/{device}/profile", "devices", "operator", "Measure it",
        AskDevice, Ordered, _profile, ProfileOrder,
    ),
    *(_device_deed(deed) for deed in DEVICE_DEEDS),
    *(_model_deed(deed) for deed in MODEL_DEEDS),
    Operation("get_command", "GET", "/commands/{command}", "devices", "viewer", "What a device answered", AskCommand, Answered, _command),
    Operation("list_rollouts", "GET", "/rollouts", "rollouts", "viewer", "The latest rollouts", AskLatest, RolloutList, _rollouts),
    Operation(
        "start_rollout", "POST", "/rollouts", "rollouts", "operator", "Roll a deployment out again",
        AskNothing, RolloutView, _start, RolloutStart,
    ),
    Operation("get_rollout", "GET", "/rollouts/{rollout}", "rollouts", "viewer", "One rollout as it stands", AskRollout, RolloutView, _rollout),
    Operation("list_members", "GET", "/rollouts/{rollout}/members", "rollouts", "viewer", "Its devices", AskMembers, Members, _members),
    *(_rollout_deed(deed) for deed in ROLLOUT_DEEDS),
    Operation("list_deployments", "GET", "/deployments", "deployments", "viewer", "The deployments", AskDeployments, DeploymentList, _deployments),
    Operation(
        "get_deployment", "GET", "/deployments/{deployment}", "deployments", "viewer", "One deployment",
        AskDeployment, DeploymentAnswer, _deployment,
    ),
    Operation("list_targets", "GET", "/deployments/{deployment}/devices", "deployments", "viewer", "Its devices", AskTargets, Targets, _targets),
    Operation(
        "cancel_deployment", "POST", "/deployments/{deployment}/cancel", "deployments", "operator", "End it where it is not over",
        AskDeployment, Ordered, _cancel_deployment,
    ),
    Operation(
        "list_measurements", "GET", "/measurements", "fleet", "viewer", "What devices measured",
        AskMeasurements, MeasurementList, _measurements,
    ),
    Operation("list_audit", "GET", "/audit", "fleet", "viewer", "Who did what", AskAudit, AuditEntries, _audit),
)  # fmt: skip
