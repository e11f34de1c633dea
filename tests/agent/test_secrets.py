"""What must not leave the device does not, in whatever form it stands in a text; and what is no secret stays."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from edgewright.agent.secrets import LEFT_OUT, Scrubber
from hypothesis import given
from hypothesis import strategies as st


@given(st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=4, max_size=40).filter(lambda text: len(text.strip()) >= 4))
def test_a_known_secret_is_left_out_however_it_is_written(secret: str) -> None:
    secret = secret.strip()
    forms = [secret, json.dumps(secret)[1:-1], quote(secret, safe=""), base64.b64encode(secret.encode()).decode(), secret.encode().hex()]
    scrub = Scrubber([secret.encode() + b"\n", secret.encode()])
    for form in forms:
        left = scrub(f"before {form} after").replace(LEFT_OUT, "")
        assert secret not in left
        assert form not in left


def test_each_line_of_a_key_is_left_out() -> None:
    lines = ["MC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAA", "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"]
    scrub = Scrubber([("-----BEGIN PRIVATE KEY-----\n" + "\n".join(lines) + "\n-----END PRIVATE KEY-----\n").encode()])

    assert scrub(f"a {lines[1]} b") == f"a {LEFT_OUT} b"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("password = hunter22", "hunter22"),
        ('{"db_password": "hunter\\"22", "x": 1}', 'hunter\\"22'),
        ("MQTT_TOKEN=abcdef", "abcdef"),
        ("run --api-key abcdef now", "abcdef"),
        ("Authorization: Bearer abcdefgh.ijk", "abcdefgh.ijk"),
        ("GET http://me:hunter22@host/x", "hunter22"),
        ("https://s3.example/model?X-Amz-Signature=abcdef&X-Amz-Date=1", "abcdef"),
        ("-----BEGIN EC PRIVATE KEY-----\nabcdef\n-----END EC PRIVATE KEY-----\nafter", "abcdef"),
        ("-----BEGIN PRIVATE KEY-----\nabcdef", "abcdef"),
        ('"-----BEGIN PRIVATE KEY-----\\nabcdef\\n-----END PRIVATE KEY-----\\n"', "abcdef"),
    ],
)
def test_what_looks_like_a_secret_is_left_out_though_nobody_knows_it(text: str, secret: str) -> None:
    left = Scrubber()(text)

    assert secret not in left
    assert LEFT_OUT in left


@pytest.mark.parametrize(
    "text",
    [
        'password_file = "password"',
        "surface: d1 is SUCCEEDED",
        "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----",
        "a token was spent",
        "",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Scrubber([b"abc"])(text) == text, "three characters stand anywhere by chance"
