"""The fingerprint of an engine: same fingerprint, same engine, no build."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ..core.digest import digest_of_bytes


@dataclass(frozen=True, slots=True)
class EngineKey:
    """Everything that an engine depends on; empty strings where a part does not apply."""

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
