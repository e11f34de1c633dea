"""Every JSON message of the wire: strict, frozen, versioned, bounded. Pure.

Rules:
- `decode` bounds the size before it parses, reads the version before the fields, and refuses unknown fields and wrong types;
- times are UNIX seconds (``_s``); nothing here reads a clock;
- a device's own state always travels whole (`Reported`), so that losing any event loses no truth.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec

from ..activation import AT_ONCE, Activation
from ..artifact import Artifact, Shortcut, check_artifact, check_shortcuts
from ..budget import Budget, Verdict
from ..errors import Reason, Rejected
from ..measurement import Candidate
from ..profile import MAX_PROFILE_BYTES, ProfileOrder
from .fields import ChunkIndex, Count, Deadline, Digest, Identity, Name, Seconds, Share
from .frames import MAX_PAYLOAD_BYTES
from .topics import check_name

WIRE_VERSION = 1
# In base64 and with its envelope a part stays well below the payload that every broker carries.
PROFILE_PART_BYTES = 60 * 1024
MAX_PROFILE_PARTS = -(-MAX_PROFILE_BYTES // PROFILE_PART_BYTES)

MAX_RIVALS = 64

State = Literal[
    "OFFERED", "ACCEPTED", "DOWNLOADING", "PAUSED", "VERIFIED", "OPTIMIZING", "MEASURED", "GATED", "STAGED", "ACTIVATING", "PROBATION",
    "SUCCEEDED", "REJECTED", "FAILED", "CANCELED", "TIMED_OUT", "SUPERSEDED", "ROLLING_BACK",
]  # fmt: skip
TERMINAL_STATES: frozenset[State] = frozenset({"SUCCEEDED", "REJECTED", "FAILED", "CANCELED", "TIMED_OUT", "SUPERSEDED"})


AGENT_MODEL = "edgewright-agent"
"""The name under which the agent's own versions are deployed."""


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every message; `v` is the wire version."""

    v: int = WIRE_VERSION


# --- what the controller says ---------------------------------------------------------------------------------------------------------


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One signature over `Envelope.signed`, hex."""

    keyid: str
    sig: str


class Envelope(Message, frozen=True, kw_only=True):
    """Signed content: `signed` is the exact JSON text that was signed, of the type that `kind` names.

    `metadata` holds the fleet's newer trust metadata as JSON texts, root and targets, after a rotation: each is signed by itself, and looked at
    before the content is.
    """

    kind: Literal["desired", "command"]
    signed: str
    signatures: tuple[Signature, ...]
    metadata: Annotated[tuple[str, ...], msgspec.Meta(max_length=64)] = ()


class Approved(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the offline keys approve: these files, as a release of this model of this fleet. Releases only go up (UNIX seconds)."""

    fleet: Name
    model: Name
    digest: Digest
    release: Count


class Approval(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An approval: `signed` is the exact JSON text of an `Approved`."""

    signed: Annotated[str, msgspec.Meta(max_length=1024)]
    signatures: Annotated[tuple[Signature, ...], msgspec.Meta(max_length=16)]


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One deployment as the controller orders it: one model version for this device.

    `model_file` names the ``.onnx`` in `model`; a ``.toml`` of the same stem is its card. `calibration` and `evaluation` hold the files
    of one dataset each (a single ``.npz``, or ``INPUT.npy`` files and ``labels.npy``, or images and ``labels.csv``). The same deployment with another
    `retry` shall be tried anew, whatever came of it before. `activation` says when the new engine may take its place. `shortcuts` are shorter ways to
    the model's files, by their digests.

    One that `is_urgent` is fetched over a metered link outside its hours and beyond its budget, where the device's owner allows that.
    An order of the `kind` ``agent`` brings no model but a version of the agent: its files are wheels, `model_file` is the one of edgewright itself,
    and its name among the models is `AGENT_MODEL`.
    """

    deployment: Name
    version: Identity
    model: Artifact
    model_file: Identity
    calibration: Artifact | None = None
    evaluation: Artifact | None = None
    recipe: Name = "auto"
    budget: Budget = Budget()
    deadline_s: Deadline = 86400.0
    probation_s: Seconds = 60.0
    retry: Count = 0
    activation: Activation = AT_ONCE
    approval: Approval | None = None
    shortcuts: dict[str, Shortcut] = {}
    kind: Literal["model", "agent"] = "model"
    is_urgent: bool = False

    @property
    def key(self) -> str:
        """What tells one order from another: the deployment, and its retry."""
        return f"{self.deployment}#{self.retry}" if self.retry else self.deployment


class Desired(Message, frozen=True, kw_only=True):
    """The whole goal of one device. A name that is absent from `models` is removed from the device.

    `wipe` counts how often the device shall have been wiped: one that was wiped less often erases what it has made and measured as well.
    `certificate` (PEM) is a later one for the key that the device logs in with.
    """

    fleet: Name
    device: Name
    sequence: Count
    issued_s: Seconds
    expires_s: Seconds
    models: dict[str, Order]
    wipe: Count = 0
    certificate: Annotated[str, msgspec.Meta(max_length=8192)] | None = None


class Command(Message, frozen=True, kw_only=True):
    """One order outside the goal. `deployment`, `model` and `profile` say what it is about, where the verb needs that."""

    fleet: Name
    device: Name
    sequence: Count
    issued_s: Seconds
    expires_s: Seconds
    id: Identity
    verb: Literal["cancel", "rollback", "release", "report", "profile"]
    deployment: Name | None = None
    model: Name | None = None
    profile: ProfileOrder | None = None


# --- what the device says -------------------------------------------------------------------------------------------------------------


class Status(Message, frozen=True, kw_only=True):
    """Presence. A last will carries the session it belongs to, so that a stale one cannot mark a newer session dead."""

    fleet: Name
    device: Name
    online: bool
    boot_id: Identity
    session: Count
    agent_version: Identity


class Runtime(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One backend or sensor of the device, usable or with the reason why not."""

    name: str
    usable: bool
    version: str = ""
    reason: str | None = None


class Capabilities(Message, frozen=True, kw_only=True):
    """What the device is and has; republished when it changes."""

    fleet: Name
    device: Name
    board: str
    machine: str
    agent_version: Identity
    memory_mb: Count
    cores: Count
    backends: tuple[Runtime, ...] = ()
    sensors: tuple[Runtime, ...] = ()
    power_modes: tuple[str, ...] = ()
    free_disk_mb: Count | None = None
    hardware_class: str = ""


class Rival(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One engine that was measured and could have been chosen, in short. None = not measured."""

    name: Identity
    backend: Identity
    size_bytes: Count
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None
    energy_mj: float | None = None
    top1: float | None = None
    agreement: float | None = None
    sqnr_db: float | None = None


class Measurement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What the pipeline measured for one attempt: the chosen candidate beside the FP32 baseline, all of them in short, and the gate's verdict."""

    chosen: Candidate | None
    baseline: Candidate | None
    verdict: Verdict | None
    rivals: Annotated[tuple[Rival, ...], msgspec.Meta(max_length=MAX_RIVALS)] = ()


class Event(Message, frozen=True, kw_only=True):
    """One state change of one deployment. `id` is unique per device for ever: receivers drop duplicates by it."""

    fleet: Name
    device: Name
    id: Identity
    sequence: Count
    deployment: Name
    model: Name
    attempt: Count
    state: State
    time_s: Seconds
    reason: Reason | None = None
    progress: Share | None = None
    measurement: Measurement | None = None


class SlotReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one slot holds."""

    deployment: Name
    version: Identity
    backend: Identity
    engine_digest: Identity
    since_s: Seconds
    starts: Count = 0


class ModelReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model of the device: its slots and its latest deployment. `progress` of its build, and what it does now, while there is one."""

    active: SlotReport | None
    previous: SlotReport | None
    trial: SlotReport | None
    held: bool = False
    deployment: Name | None = None
    state: State | None = None
    attempt: Count = 0
    reason: Reason | None = None
    measurement: Measurement | None = None
    bytes_done: Count = 0
    bytes_total: Count = 0
    progress: Share | None = None
    progress_note: Identity = ""
    written_bytes: Count | None = None


class Reported(Message, frozen=True, kw_only=True):
    """The truth on the device's disk, whole. `wiped` is the last `Desired.wipe` that was carried out."""

    fleet: Name
    device: Name
    session: Count
    desired_sequence: Count
    time_s: Seconds
    models: dict[str, ModelReport]
    problems: tuple[Reason, ...] = ()
    wiped: Count = 0


class Telemetry(Message, frozen=True, kw_only=True):
    """Periodic health. None = this board does not say.

    `written_mb` is what the agent and its workers had written to disks, `sent_mb` and `received_mb` its traffic, since the agent's start.
    """

    fleet: Name
    device: Name
    time_s: Seconds
    uptime_s: Seconds
    cpu_percent: float | None = None
    memory_used_mb: float | None = None
    disk_free_mb: float | None = None
    temperature_c: float | None = None
    power_mw: float | None = None
    power_reason: str | None = None
    written_mb: float | None = None
    sent_mb: float | None = None
    received_mb: float | None = None


class Get(Message, frozen=True, kw_only=True):
    """The device asks for chunks `ranges` (first, last; inclusive) of blob `digest`; at most `window` chunks in all.

    With `heard` it asks for none: it listens to the blob's broadcast, and has heard so many of its chunks by now.
    """

    fleet: Name
    device: Name
    digest: Digest
    ranges: tuple[tuple[ChunkIndex, ChunkIndex], ...]
    window: Count
    heard: Count | None = None


class Reply(Message, frozen=True, kw_only=True):
    """The device's answer to the command `id`; `sequence` is the command's."""

    fleet: Name
    device: Name
    id: Identity
    sequence: Count
    ok: bool
    reason: Reason | None = None


class ProfilePart(Message, frozen=True, kw_only=True):
    """A piece of the answer to a command ``profile``: of the `parts` pieces of its report (see `core.profile`) the one numbered `part`, from 0."""

    fleet: Name
    device: Name
    command: Identity
    part: Count
    parts: Annotated[int, msgspec.Meta(ge=1, le=MAX_PROFILE_PARTS)]
    data: Annotated[bytes, msgspec.Meta(max_length=PROFILE_PART_BYTES)]


M = TypeVar("M", bound=Message)


class _Header(msgspec.Struct):
    v: int


def encode(message: Message) -> bytes:
    """The message's bytes.

    Raises:
        Rejected: ``message-too-large`` above `MAX_PAYLOAD_BYTES`: brokers would drop the connection over it, again and again.
    """
    data = msgspec.json.encode(message)
    if len(data) > MAX_PAYLOAD_BYTES:
        name = type(message).__name__
        raise Rejected("message-too-large", f"a {name} message of {len(data)} bytes", "Send fewer models or files in one deployment")
    return data


def decode(data: bytes | memoryview | str, kind: type[M]) -> M:
    """Parse a message of the type `kind`.

    Raises:
        Rejected: ``message-too-large``, ``message-malformed`` or ``message-version``.
    """
    name = kind.__name__
    if len(data) > MAX_PAYLOAD_BYTES:
        raise Rejected("message-too-large", f"a {name} message of {len(data)} bytes", "Check what publishes on this topic")
    try:
        version = msgspec.json.decode(data, type=_Header).v
        if version != WIRE_VERSION:
            raise Rejected("message-version", f"a {name} message of version {version}", "Update the agent or the controller")
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected("message-malformed", f"a {name} message does not fit: {error}", "Check what publishes on this topic") from error


def check_desired(desired: Desired) -> Desired:
    """`desired` itself when every name, artifact and bound inside it is allowed.

    Raises:
        Rejected: ``bad-name``, ``artifact-malformed``, ``message-malformed``.
    """
    check_name(desired.fleet, what="fleet")
    check_name(desired.device, what="device")
    for name, order in desired.models.items():
        check_name(name, what="model")
        check_name(order.deployment, what="deployment")
        for artifact in (order.model, order.calibration, order.evaluation):
            if artifact is not None:
                check_artifact(artifact)
        check_shortcuts(order.shortcuts)
        if order.model_file not in order.model.files:
            raise Rejected("message-malformed", f"the model file {order.model_file!r} is not in its artifact", "Name a listed file")
        if (order.kind == "agent") != (name == AGENT_MODEL):
            raise Rejected("message-malformed", f"{AGENT_MODEL!r} is the agent's own name, and no model's", "Give the model another name")
    return desired
