from __future__ import annotations

from dataclasses import fields, replace

from edgewright.engines.fingerprint import EngineKey, fingerprint

KEY = EngineKey("m", "t", "onnxruntime", "1.20", "cpu", "36.4", "2", "{}")


def test_equal_keys_have_equal_fingerprints():
    assert fingerprint(KEY) == fingerprint(replace(KEY))
    assert len(fingerprint(KEY)) == 64


def test_every_part_of_the_key_counts():
    changed = {fingerprint(replace(KEY, **{field.name: "other"})) for field in fields(KEY)}

    assert len(changed) == len(fields(KEY))
    assert fingerprint(KEY) not in changed
