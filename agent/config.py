"""The agent's one configuration file, ``agent.toml``. Everything that names a command, a path or a user is here, and never comes by the wire.

Rules: an unknown key is refused with the nearest known one; relative paths are relative to the file; docs/agent-config.md is generated from
this module and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ..core.errors import Rejected
from ..core.nearest import nearest_hint
from ..core.toml import decode_toml
from ..core.wire.topics import check_name

DAY_S = 86400.0


class _Section(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every table of the file."""


class BrokerSection(_Section, frozen=True, kw_only=True):
    """``[broker]``: where the broker is, and as whom to log in. `tls_…` are PEM files."""

    host: str
    port: int = 8883
    username: str | None = None
    password_file: str | None = None
    tls_ca: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    keepalive_s: int = 30
    reconnect_min_s: float = 1.0
    reconnect_max_s: float = 30.0


class PathsSection(_Section, frozen=True, kw_only=True):
    """``[paths]``: the state folder, the control socket, and the folder with root.json and targets.json."""

    state: str = "/var/lib/edgewright"
    socket: str = "/run/edgewright/agent.sock"
    trust: str = "/etc/edgewright/trust"


class LimitsSection(_Section, frozen=True, kw_only=True):
    """``[limits]``: what a deployment may take on this device, whatever its order says."""

    max_deployment_bytes: int = 4 << 30
    min_free_bytes: int = 64 << 20
    max_build_s: float = 3600.0
    max_build_memory_mb: float | None = None
    max_deadline_s: float = 7 * 86400.0
    max_probation_s: float = 3600.0
    max_starts: int = 3
    window: int = 8
    chunk_timeout_s: float = 1.0
    outbox_events: int = 10_000


class OptimizeSection(_Section, frozen=True, kw_only=True):
    """``[optimize]``: how engines are built and measured here."""

    backend: str | None = None
    threads: int = 1
    bench_seconds: float = 2.0
    nice: int = 10


class TelemetrySection(_Section, frozen=True, kw_only=True):
    """``[telemetry]``: the periodic health message; an interval of 0 switches it off."""

    interval_s: float = 60.0


class ModelSection(_Section, frozen=True, kw_only=True):
    """``[models.NAME]``: commands around one model. `health` decides probation by its exit status."""

    activate: tuple[str, ...] = ()
    health: tuple[str, ...] = ()
    health_interval_s: float = 5.0
    command_timeout_s: float = 30.0


class AgentFile(_Section, frozen=True, kw_only=True):
    """The whole file: `fleet` and `device` name this device; the rest is in tables."""

    fleet: str
    device: str
    broker: BrokerSection
    paths: PathsSection = PathsSection()
    limits: LimitsSection = LimitsSection()
    optimize: OptimizeSection = OptimizeSection()
    telemetry: TelemetrySection = TelemetrySection()
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
    _check_values(file, path)
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
    )


def _refuse_unknown(table: dict[str, Any], section: type[msgspec.Struct], prefix: str) -> None:
    known = {field.name: field.type for field in msgspec.structs.fields(section)}
    for key, value in table.items():
        if key not in known:
            raise Rejected("config-unknown-key", f"the config has an unknown key {prefix + key!r}", nearest_hint(key, known))
        if key == "models" and isinstance(value, dict):
            for name, entry in value.items():
                if isinstance(entry, dict):
                    _refuse_unknown(entry, ModelSection, f"models.{name}.")
        elif isinstance(value, dict) and isinstance(known[key], type) and issubclass(known[key], msgspec.Struct):
            _refuse_unknown(value, known[key], f"{key}.")


def _ranges(file: AgentFile) -> Iterator[tuple[str, float | None, float, float]]:
    """Each number of the file with its bounds."""
    broker, limits, optimize = file.broker, file.limits, file.optimize
    yield "broker.port", broker.port, 1, 65535
    yield "broker.keepalive_s", broker.keepalive_s, 5, 3600
    yield "broker.reconnect_min_s", broker.reconnect_min_s, 0.05, 3600
    yield "broker.reconnect_max_s", broker.reconnect_max_s, broker.reconnect_min_s, DAY_S
    yield "limits.max_deployment_bytes", limits.max_deployment_bytes, 1, 1 << 40
    yield "limits.min_free_bytes", limits.min_free_bytes, 0, 1 << 40
    yield "limits.max_build_s", limits.max_build_s, 1, 7 * DAY_S
    yield "limits.max_build_memory_mb", limits.max_build_memory_mb, 16, 1 << 30
    yield "limits.max_deadline_s", limits.max_deadline_s, 1, 365 * DAY_S
    yield "limits.max_probation_s", limits.max_probation_s, 0, 30 * DAY_S
    yield "limits.max_starts", limits.max_starts, 1, 1000
    yield "limits.window", limits.window, 1, 20
    yield "limits.chunk_timeout_s", limits.chunk_timeout_s, 0.05, 600
    yield "limits.outbox_events", limits.outbox_events, 10, 1_000_000
    yield "optimize.threads", optimize.threads, 1, 256
    yield "optimize.bench_seconds", optimize.bench_seconds, 0.05, 3600
    yield "optimize.nice", optimize.nice, 0, 19
    if file.telemetry.interval_s != 0:
        yield "telemetry.interval_s", file.telemetry.interval_s, 1, DAY_S
    for name, model in file.models.items():
        yield f"models.{name}.health_interval_s", model.health_interval_s, 0.1, DAY_S
        yield f"models.{name}.command_timeout_s", model.command_timeout_s, 0.1, 3600


def _check_values(file: AgentFile, path: Path) -> None:
    for name, value, low, high in _ranges(file):
        if value is not None and not low <= value <= high:
            raise Rejected("config-bad-value", f"{name} = {value} in {path.name} is out of range", f"Use {low:g} to {high:g}")
    broker = file.broker
    if broker.tls_ca is None and (broker.tls_certificate or broker.tls_key):
        message = f"{path.name} names a client certificate or key and no broker.tls_ca: the connection would not be encrypted"
        raise Rejected("config-bad-value", message, "Give broker.tls_ca, the certificate of the broker's authority")
    if (broker.tls_certificate is None) != (broker.tls_key is None):
        raise Rejected("config-bad-value", f"{path.name} names one of broker.tls_certificate and broker.tls_key", "Give both, or none")
    for name, model in file.models.items():
        for verb, argv in (("activate", model.activate), ("health", model.health)):
            if argv and not argv[0]:
                raise Rejected("config-bad-value", f"models.{name}.{verb} of {path.name} names no program", "Give the program, then its arguments")
