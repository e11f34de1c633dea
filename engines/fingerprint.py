"""The fingerprint of an engine: same fingerprint, same engine, no build. Pure, and light: the daemon reads manifests."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..core.digest import digest_of_bytes

Precision = Literal["fp32", "fp16", "int8", "mixed"]
Compatibility = Literal["none", "version", "hardware"]


class EngineKey(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an engine depends on; empty strings where a part does not apply.

    `processor` is what it is bound to: a GPU's name and compute capability, or the CPU. `driver` holds the driver's and the board
    support package's releases. `options` is the canonical text of the build options.
    """

    model_digest: str
    table_digest: str
    backend: str
    backend_version: str
    processor: str
    driver: str
    power_mode: str
    options: str


def fingerprint(key: EngineKey) -> str:
    """SHA-256 of the key's canonical JSON, hex."""
    return digest_of_bytes(msgspec.json.encode(key, order="sorted"))
