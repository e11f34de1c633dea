"""The agent's one configuration file, ``agent.toml``. Everything that names a command, a path or a user is here, and never comes by the wire.

Rules: an unknown key is refused with the nearest known one; every number has its range; relative paths are relative to the file.
``docs/agent-config.md`` is generated from this module (`documentation`) and a test holds the two together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ..core.activation import parse_activation
from ..core.errors import Rejected
from ..core.nearest import nearest_hint
from ..core.toml import decode_toml
from ..core.wire.proxy import proxy_from_url
from ..core.wire.topics import check_name

DAY_S = 86400
MIN_INTERVAL_S = 1.0


class _Section(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every table of the file."""


class BrokerSection(_Section, frozen=True, kw_only=True):
    """Where the broker is, and as whom to log in."""

    host: Annotated[str, Meta(min_length=1, max_length=253, description="Name or address of the broker.")]
    port: Annotated[int, Meta(ge=1, le=65535, description="Its port.")] = 8883
    username: Annotated[str | None, Meta(description="User name; absent: none.")] = None
    password_file: Annotated[str | None, Meta(description="File that holds the password and nothing else; absent: none.")] = None
    tls_ca: Annotated[str | None, Meta(description="PEM file of the broker's authority; absent: the connection is not encrypted.")] = None
    tls_certificate: Annotated[str | None, Meta(description="PEM file of this device's certificate, with `tls_key`; needs `tls_ca`.")] = None
    tls_key: Annotated[str | None, Meta(description="PEM file of its private key.")] = None
    proxy: Annotated[
        str | None,
        Meta(description="Proxy to pass through: `http://[USER@]HOST:PORT` or `socks5://…`; needs the extra `proxy`. Absent: none."),
    ] = None
    proxy_password_file: Annotated[str | None, Meta(description="File that holds the proxy's password and nothing else; absent: none.")] = None
    keepalive_s: Annotated[int, Meta(ge=5, le=3600, description="The broker is pinged when nothing else was said for so long.")] = 30
    reconnect_min_s: Annotated[float, Meta(ge=0.05, le=3600, description="First delay before connecting again; it doubles, with jitter.")] = 1.0
    reconnect_max_s: Annotated[float, Meta(ge=0.05, le=DAY_S, description="Longest delay before connecting again.")] = 30.0


class PathsSection(_Section, frozen=True, kw_only=True):
    """Where the agent keeps and finds things."""

    state: Annotated[str, Meta(description="State folder: blobs, engines, journal. Applications read `models/` in it.")] = "/var/lib/edgewright"
    socket: Annotated[str, Meta(description="Control socket, which `edgewright agent …` talks to.")] = "/run/edgewright/agent.sock"
    trust: Annotated[str, Meta(description="Folder with `root.json` and `targets.json`, this device's trust anchor.")] = "/etc/edgewright/trust"


class LimitsSection(_Section, frozen=True, kw_only=True):
    """What a deployment may take on this device, whatever its order says."""

    max_deployment_bytes: Annotated[int, Meta(ge=1, le=1 << 40, description="Size of a model and its datasets together.")] = 4 << 30
    min_free_bytes: Annotated[int, Meta(ge=0, le=1 << 40, description="What has to stay free on the disk, or a deployment is refused.")] = 64 << 20
    max_build_s: Annotated[float, Meta(ge=1, le=7 * DAY_S, description="Time for compressing, calibrating, building and measuring.")] = 3600.0
    max_build_memory_mb: Annotated[
        Annotated[float, Meta(ge=16, le=1 << 30)] | None, Meta(description="Memory of a build, CUDA's on a Jetson too; absent: not limited.")
    ] = None
    min_available_memory_mb: Annotated[
        float, Meta(ge=0, le=1 << 30, description="What the board has to keep available while it builds, or the build is ended; 0 = no matter.")
    ] = 128.0
    max_deadline_s: Annotated[float, Meta(ge=1, le=366 * DAY_S, description="Time for a deployment in all.")] = 7.0 * DAY_S
    max_probation_s: Annotated[float, Meta(ge=0, le=30 * DAY_S, description="Time of an engine on trial.")] = 3600.0
    max_starts: Annotated[int, Meta(ge=1, le=1000, description="Starts of the agent or the application that a trial survives.")] = 3
    window: Annotated[int, Meta(ge=1, le=20, description="Chunks under way at the start of a transfer; it adapts.")] = 8
    chunk_timeout_s: Annotated[float, Meta(ge=0.05, le=60, description="Shortest time before a chunk is asked for again.")] = 1.0
    outbox_events: Annotated[int, Meta(ge=10, le=1_000_000, description="Events kept for a broker that is away; the oldest go first.")] = 100_000
    outbox_bytes: Annotated[int, Meta(ge=1 << 17, le=1 << 40, description="What they may take in all.")] = 64 << 20


class OptimizeSection(_Section, frozen=True, kw_only=True):
    """How engines are built and measured here."""

    backend: Annotated[str | None, Meta(description="The backend that builds engines, by name; absent: the best usable one.")] = None
    threads: Annotated[int, Meta(ge=1, le=256, description="Threads of an engine, when it is measured and when it runs.")] = 1
    bench_seconds: Annotated[float, Meta(ge=0.05, le=3600, description="How long each engine's latency is measured.")] = 2.0
    search_s: Annotated[
        float,
        Meta(
            ge=0,
            le=DAY_S,
            description="How long the recipe auto may look for a faster network here; 0: not at all. An identical deployment does not search twice.",
        ),
    ] = 0.0
    nice: Annotated[int, Meta(ge=0, le=19, description="Added to the niceness of builds, so that applications go first.")] = 10
    accept_signed_engines: Annotated[
        bool,
        Meta(description="Take engines from others, when the fleet's role engines has signed them for exactly this device's fingerprint."),
    ] = False
    compatibility: Annotated[
        Literal["none", "version"],
        Meta(description="`version`: TensorRT's plans open with later releases too, so that applications can restart after an update of JetPack."),
    ] = "none"


class LinkSection(_Section, frozen=True, kw_only=True):
    """A metered link: when models may be fetched, and how much. Status, reports and commands always pass, and count."""

    windows: Annotated[
        tuple[str, ...], Meta(max_length=16, description="Times of day in which models are fetched, as `22:00-06:00`; none: at any time.")
    ] = ()
    clock: Annotated[Literal["utc", "local"], Meta(description="Whose time of day the windows and the days of the budgets are.")] = "utc"
    max_bytes_per_day: Annotated[
        Annotated[int, Meta(ge=1 << 20, le=1 << 50)] | None,
        Meta(description="No model is fetched any more on a day beyond so many; absent: no limit."),
    ] = None
    max_bytes_per_month: Annotated[Annotated[int, Meta(ge=1 << 20, le=1 << 50)] | None, Meta(description="The same for a calendar month.")] = None
    obey_urgent: Annotated[bool, Meta(description="Whether an order that the fleet has signed as urgent is fetched all the same.")] = True


class TelemetrySection(_Section, frozen=True, kw_only=True):
    """The periodic health message."""

    interval_s: Annotated[float, Meta(ge=0, le=DAY_S, description="Time between two; 0 switches them off, otherwise at least 1.")] = 60.0


class ModelSection(_Section, frozen=True, kw_only=True):
    """Commands around one model, as lists of the program and its arguments. Both get `EDGEWRIGHT_MODEL`, the model's name, and `EDGEWRIGHT_ENGINE`,
    the engine's folder, in their environment.
    """

    activate: Annotated[tuple[str, ...], Meta(description="Run after every change of the engine: restart or signal the application.")] = ()
    health: Annotated[tuple[str, ...], Meta(description="Run during probation; an exit status other than 0 takes the engine out.")] = ()
    health_interval_s: Annotated[float, Meta(ge=0.1, le=DAY_S, description="Time between two runs of `health`.")] = 5.0
    command_timeout_s: Annotated[float, Meta(ge=0.1, le=3600, description="Time for one run of either; then it is killed, and has failed.")] = 30.0


class AgentFile(_Section, frozen=True, kw_only=True):
    """The whole file: the two names stand at its top, the rest in tables."""

    fleet: Annotated[str, Meta(description="The fleet's name.")]
    device: Annotated[str, Meta(description="This device's name in it.")]
    broker: BrokerSection
    enrolment: Annotated[
        int,
        Meta(ge=0, le=1 << 32, description="Number of this enrolment: a board that takes another's place counts its sessions and events from it."),
    ] = 0
    paths: PathsSection = PathsSection()
    limits: LimitsSection = LimitsSection()
    optimize: OptimizeSection = OptimizeSection()
    telemetry: TelemetrySection = TelemetrySection()
    link: LinkSection = LinkSection()
    models: dict[str, ModelSection] = {}


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """A checked configuration; every path is absolute."""

    fleet: str
    device: str
    broker: BrokerSection
    state: Path
    socket: Path
    trust: Path
    limits: LimitsSection
    optimize: OptimizeSection
    telemetry: TelemetrySection
    models: dict[str, ModelSection]
    folder: Path
    enrolment: int = 0
    link: LinkSection = field(default_factory=LinkSection)
    file: Path = Path("agent.toml")

    def model(self, name: str) -> ModelSection:
        return self.models.get(name, ModelSection())


def config_from_toml(path: Path) -> AgentConfig:
    """Read and check the configuration.

    Raises:
        Rejected: ``config-unreadable``, ``config-unknown-key``, ``config-bad-value`` or ``bad-name``.
    """
    fields = decode_toml(path, what="config")
    _refuse_unknown(fields, AgentFile, "")
    try:
        file = msgspec.convert(fields, AgentFile)
    except msgspec.ValidationError as error:
        raise Rejected("config-bad-value", f"{path.name} does not fit: {error}", "Correct the value; docs/agent-config.md") from error
    check_name(file.fleet, what="fleet")
    check_name(file.device, what="device")
    for name in file.models:
        check_name(name, what="model")
    _check_values(file, fields, path)
    folder = path.resolve().parent
    return AgentConfig(
        fleet=file.fleet,
        device=file.device,
        broker=file.broker,
        state=folder / file.paths.state,
        socket=folder / file.paths.socket,
        trust=folder / file.paths.trust,
        limits=file.limits,
        optimize=file.optimize,
        telemetry=file.telemetry,
        models=file.models,
        folder=folder,
        enrolment=file.enrolment,
        link=file.link,
        file=path.resolve(),
    )


@dataclass(frozen=True, slots=True)
class Essentials:
    """What has to be known of a configuration that a newer version may have written keys into."""

    state: Path
    max_starts: int


class _EssentialPaths(msgspec.Struct, frozen=True):
    state: str = PathsSection().state


class _EssentialLimits(msgspec.Struct, frozen=True):
    max_starts: Annotated[int, Meta(ge=1)] = LimitsSection().max_starts


class _EssentialFile(msgspec.Struct, frozen=True):
    paths: _EssentialPaths = _EssentialPaths()
    limits: _EssentialLimits = _EssentialLimits()


def essentials_from_toml(path: Path) -> Essentials:
    """The state folder and the starts that a trial survives; nothing else is looked at.

    Raises:
        Rejected: ``config-unreadable`` or ``config-bad-value``.
    """
    fields = decode_toml(path, what="config")
    try:
        known = msgspec.convert(fields, _EssentialFile)
    except msgspec.ValidationError as error:
        raise Rejected("config-bad-value", f"{path.name} does not fit: {error}", "Correct the value; docs/agent-config.md") from error
    return Essentials(path.resolve().parent / known.paths.state, known.limits.max_starts)


def _refuse_unknown(table: dict[str, Any], section: type[msgspec.Struct], prefix: str) -> None:
    known = {entry.name: entry.type for entry in msgspec.structs.fields(section)}
    for key, value in table.items():
        if key not in known:
            raise Rejected("config-unknown-key", f"the config has an unknown key {prefix + key!r}", nearest_hint(key, known))
        if key == "models" and isinstance(value, dict):
            for name, entry in value.items():
                if isinstance(entry, dict):
                    _refuse_unknown(entry, ModelSection, f"models.{name}.")
        elif isinstance(value, dict) and isinstance(known[key], type) and issubclass(known[key], msgspec.Struct):
            _refuse_unknown(value, known[key], f"{key}.")


def _check_values(file: AgentFile, fields: dict[str, Any], path: Path) -> None:
    """What the type of a single key cannot say."""
    broker = file.broker
    _refuse_nan(fields, "", path)
    if broker.reconnect_max_s < broker.reconnect_min_s:
        raise _bad(path, "broker.reconnect_max_s is below broker.reconnect_min_s", "Give a longer one")
    if 0 < file.telemetry.interval_s < MIN_INTERVAL_S:
        raise _bad(path, f"telemetry.interval_s = {file.telemetry.interval_s} is out of range", f"Use 0, or {MIN_INTERVAL_S:g} and more")
    if broker.tls_ca is None and (broker.tls_certificate or broker.tls_key):
        raise _bad(path, "without broker.tls_ca the connection is not encrypted, whatever its certificate", "Give broker.tls_ca")
    if (broker.tls_certificate is None) != (broker.tls_key is None):
        raise _bad(path, "there is one of broker.tls_certificate and broker.tls_key", "Give both, or none")
    if broker.proxy is None and broker.proxy_password_file is not None:
        raise _bad(path, "there is a broker.proxy_password_file and no broker.proxy", "Give broker.proxy")
    if broker.proxy is not None:
        proxy_from_url(broker.proxy)
    for window in file.link.windows:
        if parse_activation(window).kind != "window":
            raise _bad(path, f"link.windows has {window!r}", "Write times of day as 22:00-06:00")
    for name, model in file.models.items():
        for verb, argv in (("activate", model.activate), ("health", model.health)):
            if argv and not argv[0]:
                raise _bad(path, f"models.{name}.{verb} names no program", "Give the program, then its arguments")


def _refuse_nan(table: dict[str, Any], prefix: str, path: Path) -> None:
    """A value that compares with nothing passes every range."""
    for key, value in table.items():
        if isinstance(value, dict):
            _refuse_nan(value, f"{prefix}{key}.", path)
        elif isinstance(value, float) and math.isnan(value):
            raise _bad(path, f"{prefix}{key} is not a number", "Give a number")


def _bad(path: Path, message: str, hint: str) -> Rejected:
    return Rejected("config-bad-value", f"{path.name}: {message}", hint)
