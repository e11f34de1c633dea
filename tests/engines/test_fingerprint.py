from __future__ import annotations

from edgewright.engines.fingerprint import EngineKey, fingerprint
from msgspec.structs import fields, replace

KEY = EngineKey(
    model_digest="m", table_digest="t", backend="onnxruntime", backend_version="1.20", processor="cpu", driver="36.4", power_mode="2", options="{}"
)


def test_equal_keys_have_equal_fingerprints():
    assert fingerprint(KEY) == fingerprint(replace(KEY))
    assert len(fingerprint(KEY)) == 64


def test_every_part_of_the_key_counts():
    changed = {fingerprint(replace(KEY, **{field.name: "other"})) for field in fields(KEY)}

    assert len(changed) == len(fields(KEY))
    assert fingerprint(KEY) not in changed
