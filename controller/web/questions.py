"""What the REST interface is asked, is sent and answers, where the fleet's own views are not the answer: types, all with their bounds."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from ...core.profile import ProfileReport
from ...core.wire.messages import Event, Reply, Telemetry
from ..audit import AuditEntry
from ..comparison import EngineMedians, EnginePoint
from ..deployments import DeploymentDetail, DeploymentSummary, TargetLine
from ..history import CommandView
from ..inventory import DeviceSummary, Selector
from ..measurements import MeasurementView
from ..rollout_plan import RolloutPlan
from ..rollouts import MemberView, RolloutView
from .operation import Ask

Limit = Annotated[int, Meta(ge=1, le=1000)]
Text = Annotated[str, Meta(max_length=200)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]


# --- what is asked ---------------------------------------------------------------------------------------------------------------------


class AskNothing(Ask, frozen=True):
    """No parameters."""


class AskDevices(Ask, frozen=True):
    """Which devices; `label` is KEY=VALUE and may be repeated. `after` goes on behind a name."""

    text: Text = ""
    label: tuple[Text, ...] = ()
    hardware_class: Text | None = None
    online: bool | None = None
    retired: bool = False
    after: Text = ""
    limit: Limit = 100


class AskDevice(Ask, frozen=True):
    device: Name


class AskDeviceEvents(Ask, frozen=True):
    """`before` goes on below a sequence."""

    device: Name
    before: int | None = None
    limit: Limit = 100


class AskDeviceTail(Ask, frozen=True):
    device: Name
    limit: Limit = 100


class AskDeviceModel(Ask, frozen=True):
    device: Name
    model: Name


class AskCommand(Ask, frozen=True):
    command: Name


class AskRollout(Ask, frozen=True):
    rollout: Name


class AskMembers(Ask, frozen=True):
    """`state` may be repeated; `after` goes on behind a name."""

    rollout: Name
    wave: int | None = None
    state: tuple[Text, ...] = ()
    after: Text = ""
    limit: Limit = 100


class AskLatest(Ask, frozen=True):
    limit: Limit = 50


class AskDeployments(Ask, frozen=True):
    """`after` goes on behind a deployment."""

    after: Text = ""
    limit: Limit = 50


class AskDeployment(Ask, frozen=True):
    deployment: Name


class AskTargets(Ask, frozen=True):
    """`state` may be repeated; `after` goes on behind a name."""

    deployment: Name
    state: tuple[Text, ...] = ()
    after: Text = ""
    limit: Limit = 100


class AskMeasurements(Ask, frozen=True):
    """`after` is the `next` of an earlier answer."""

    deployment: Text | None = None
    device: Text | None = None
    after: Text = ""
    limit: Limit = 100


class AskAudit(Ask, frozen=True):
    """`before` goes on below a number."""

    subject: Text | None = None
    before: int | None = None
    limit: Limit = 100


# --- what is sent ----------------------------------------------------------------------------------------------------------------------


class LabelChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Labels to set; null takes one away."""

    labels: Annotated[dict[str, str | None], Meta(max_length=64)]


class RolloutStart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Roll out once more what an earlier deployment holds, to these devices, by this plan."""

    deployment: Name
    selector: Selector = Selector()
    plan: RolloutPlan = RolloutPlan()


# --- what is answered ------------------------------------------------------------------------------------------------------------------


class Devices(msgspec.Struct, frozen=True, kw_only=True):
    """A page of devices; `next` is the `after` of the next page, null on the last one."""

    devices: tuple[DeviceSummary, ...]
    total: int
    next: str | None


class Events(msgspec.Struct, frozen=True, kw_only=True):
    """State changes, the latest first; `next` is the `before` of the next page."""

    events: tuple[Event, ...]
    next: int | None


class Telemetries(msgspec.Struct, frozen=True, kw_only=True):
    """Words on a device's health, in the order of their coming."""

    telemetry: tuple[Telemetry, ...]


class Commands(msgspec.Struct, frozen=True, kw_only=True):
    """Commands, the latest first."""

    commands: tuple[CommandView, ...]


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """What labels a device has now."""

    labels: dict[str, str]


class Ordered(msgspec.Struct, frozen=True, kw_only=True):
    """It was ordered; the devices' answers will be found under the ids of these commands, where there are any."""

    commands: tuple[str, ...]


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What a device has said to a command; both are null until it has."""

    reply: Reply | None
    profile: ProfileReport | None


class RolloutList(msgspec.Struct, frozen=True, kw_only=True):
    """Rollouts, the latest first."""

    rollouts: tuple[RolloutView, ...]


class Members(msgspec.Struct, frozen=True, kw_only=True):
    """Devices of a rollout."""

    members: tuple[MemberView, ...]
    next: str | None


class DeploymentList(msgspec.Struct, frozen=True, kw_only=True):
    """Deployments, the latest first."""

    deployments: tuple[DeploymentSummary, ...]
    next: str | None


class DeploymentAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment; FP32 beside the chosen engines by hardware class, and every engine that was measured."""

    deployment: DeploymentDetail
    engines: tuple[EngineMedians, ...]
    measured: tuple[EnginePoint, ...]


class Targets(msgspec.Struct, frozen=True, kw_only=True):
    """Devices of a deployment."""

    devices: tuple[TargetLine, ...]
    next: str | None


class MeasurementList(msgspec.Struct, frozen=True, kw_only=True):
    """What devices measured."""

    measurements: tuple[MeasurementView, ...]
    next: str | None


class AuditEntries(msgspec.Struct, frozen=True, kw_only=True):
    """Deeds, the latest first."""

    entries: tuple[AuditEntry, ...]
    next: int | None
