"""``/etc/edgewright/power.toml``: what only the owner of a board can know. Nothing that comes by the wire gets here.

Rules: the file may be absent; an unknown key is refused with the nearest known one; every value has a range.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ..core.errors import Rejected
from ..core.nearest import nearest_hint
from ..core.toml import decode_toml
from .sysfs import Sysfs

CONFIG_PATH = "etc/edgewright/power.toml"


class _Table(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every table of the file."""


class TotalMap(_Table, frozen=True, kw_only=True):
    """``[total]``: the labels of the rails that add up to `scope` on this board."""

    rails: tuple[str, ...]
    scope: Literal["module", "board", "wall"]


class Meter(_Table, frozen=True, kw_only=True):
    """``[meter]``: an external meter. ``csv`` is a log that another program appends to; ``shelly`` and ``tasmota`` are smart plugs on MQTT.

    `path` is for ``csv``; `topic` is the plug's name in its topics (``shellyplus1pm-…``, ``tasmota_…``).
    """

    kind: Literal["csv", "shelly", "tasmota"]
    scope: Literal["module", "board", "wall"] = "wall"
    path: str | None = None
    host: str = "localhost"
    port: int = 1883
    topic: str | None = None
    username: str | None = None
    password_file: str | None = None
    tls_ca: str | None = None


class Modes(_Table, frozen=True, kw_only=True):
    """``[modes]``: the nvpmodel ids that ``power sweep`` may switch to. Empty = none: sweeping is opt-in."""

    allow: tuple[int, ...] = ()


class PowerConfig(_Table, frozen=True, kw_only=True):
    """The whole file. `filter_s` is the sensor's filter constant as ``doctor --power`` measured it."""

    filter_s: float | None = None
    total: TotalMap | None = None
    meter: Meter | None = None
    modes: Modes = Modes()


def read_power_config(tree: Sysfs) -> PowerConfig:
    """The owner's file below the root, or the defaults.

    Raises:
        Rejected: ``power-config-unreadable``, ``power-config-unknown-key`` or ``power-config-bad-value``.
    """
    path = tree.resolve(CONFIG_PATH)
    if path is None:
        return PowerConfig()
    table = decode_toml(path, what="power-config")
    _refuse_unknown(table, PowerConfig, "")
    try:
        config = msgspec.convert(table, PowerConfig)
    except msgspec.ValidationError as error:
        raise Rejected("power-config-bad-value", f"{path.name} does not fit: {error}", "Correct the value; docs/profiling.md") from error
    if config.filter_s is not None and not 0 <= config.filter_s <= 60:
        raise Rejected("power-config-bad-value", f"filter_s = {config.filter_s} in {path.name} is out of range", "Use 0 to 60 seconds")
    meter = config.meter
    if meter is not None and (meter.path if meter.kind == "csv" else meter.topic) is None:
        missing = "path" if meter.kind == "csv" else "topic"
        raise Rejected("power-config-bad-value", f"[meter] of kind {meter.kind!r} has no {missing}", f"Add {missing}; docs/profiling.md")
    return config


_TABLES: dict[str, type[msgspec.Struct]] = {"total": TotalMap, "meter": Meter, "modes": Modes}


def _refuse_unknown(table: dict[str, object], section: type[msgspec.Struct], prefix: str) -> None:
    known = {entry.name: entry.type for entry in msgspec.structs.fields(section)}
    for key, value in table.items():
        if key not in known:
            raise Rejected("power-config-unknown-key", f"power.toml has an unknown key {prefix + key!r}", nearest_hint(key, known))
        inner = _TABLES.get(key)
        if inner is not None and isinstance(value, dict):
            _refuse_unknown(value, inner, f"{key}.")
