from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from edgewright.core.artifact import Artifact, Blob
from edgewright.core.errors import Rejected
from edgewright.core.wire.frames import MAX_PAYLOAD_BYTES
from edgewright.core.wire.messages import (
    TERMINAL_STATES,
    WIRE_VERSION,
    Capabilities,
    Command,
    Desired,
    Envelope,
    Event,
    Get,
    Message,
    ModelReport,
    Order,
    Reply,
    Reported,
    Signature,
    Status,
    Telemetry,
    check_desired,
    decode,
    encode,
)
from hypothesis import given
from hypothesis import strategies as st

DIGEST = "0123456789abcdef" * 4
BLOB = Blob(DIGEST, 5)
ORDER = Order(deployment="d-1", version="1", model=Artifact({"model.onnx": BLOB}), model_file="model.onnx")
WHO: dict[str, Any] = {"fleet": "fleet", "device": "board-1"}
MESSAGES: list[Message] = [
    Envelope(kind="desired", signed="{}", signatures=(Signature("k", "s"),)),
    Desired(**WHO, sequence=7, issued_s=1.0, expires_s=2.0, models={"m": ORDER}),
    Command(**WHO, sequence=8, issued_s=1.0, expires_s=2.0, id="c", verb="cancel", deployment="d-1"),
    Status(**WHO, online=True, boot_id="b", session=1, agent_version="1"),
    Capabilities(**WHO, board="x86_64", machine="x86_64", agent_version="1", memory_mb=512, cores=2),
    Event(**WHO, id="e", sequence=1, deployment="d-1", model="m", attempt=1, state="OFFERED", time_s=1.5),
    Reported(**WHO, session=1, desired_sequence=7, time_s=1.0, models={"m": ModelReport(active=None, previous=None, trial=None)}),
    Telemetry(**WHO, time_s=1.0, uptime_s=2.0, temperature_c=-40.0),
    Get(**WHO, digest=DIGEST, ranges=((0, 3), (9, 9)), window=5),
    Reply(**WHO, id="c", sequence=8, ok=True),
]
KINDS = [type(message) for message in MESSAGES]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    assert decode(encode(message), type(message)) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_an_unknown_field_is_refused(message: Message) -> None:
    fields = json.loads(encode(message)) | {"surprise": 1}
    assert code_of(fields, type(message)) == "message-malformed"


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_an_unknown_version_is_told_as_such_whatever_else_is_in_the_message(message: Message) -> None:
    fields = json.loads(encode(message)) | {"v": WIRE_VERSION + 1, "from-the-future": []}
    assert code_of(fields, type(message)) == "message-version"


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_field_of_a_wrong_type_is_refused(message: Message) -> None:
    fields = json.loads(encode(message))
    for name in fields:
        if name != "v":
            assert code_of(fields | {name: {"wrong": 1}}, type(message)) == "message-malformed", name


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_without_its_version_is_refused(message: Message) -> None:
    fields = json.loads(encode(message))
    del fields["v"]
    assert code_of(fields, type(message)) == "message-malformed"


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (Get, "digest", "xyz"),
        (Get, "digest", "../" + DIGEST[3:]),
        (Get, "digest", DIGEST + "\n"),
        (Get, "digest", DIGEST.upper()),
        (Get, "ranges", [[0, 10**30]]),
        (Get, "ranges", [[-1, 3]]),
        (Get, "ranges", [[0]]),
        (Get, "ranges", [[0.5, 1]]),
        (Get, "window", -1),
        (Get, "window", 2**60),
        (Status, "session", 2**70),
        (Status, "session", -1),
        (Status, "device", "d" * 65),
        (Event, "sequence", 2**53),
        (Event, "state", "EXPLODED"),
        (Event, "time_s", -1),
        (Event, "time_s", 1e300),
        (Event, "progress", 1.5),
        (Event, "id", "e" * 129),
        (Reported, "desired_sequence", -1),
        (Capabilities, "memory_mb", -1),
        (Desired, "issued_s", 1e18),
        (Desired, "expires_s", 1e18),
        (Command, "verb", "reboot"),
    ],
)
def test_a_value_out_of_its_bounds_is_refused(kind: type[Message], field: str, value: object) -> None:
    message = next(entry for entry in MESSAGES if type(entry) is kind)
    assert code_of(json.loads(encode(message)) | {field: value}, kind) == "message-malformed"


@pytest.mark.parametrize("field", ["deadline_s", "probation_s"])
@pytest.mark.parametrize("value", [-1, 1e12, "soon", None])
def test_an_order_that_never_ends_is_refused(field: str, value: object) -> None:
    order = json.loads(msgspec.json.encode(ORDER)) | {field: value}
    fields = json.loads(encode(MESSAGES[1])) | {"models": {"m": order}}
    assert code_of(fields, Desired) == "message-malformed"


def test_a_message_above_the_bound_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(Rejected) as refused:
        decode(b" " * MAX_PAYLOAD_BYTES + b"{", Status)

    assert refused.value.code == "message-too-large"


def test_a_message_that_brokers_would_refuse_is_not_made() -> None:
    wide = Artifact({f"f{number}": BLOB for number in range(2000)})
    with pytest.raises(Rejected) as refused:
        encode(Desired(**WHO, sequence=1, issued_s=1.0, expires_s=2.0, models={"m": msgspec.structs.replace(ORDER, model=wide)}))

    assert refused.value.code == "message-too-large"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'{"v":1',
        b"\xff\xfe",
        b'{"v":1,"fleet":"\xff"}',
        b'{"v":1,"fleet":"\\ud800"}',
        b"[" * 50_000,
        b'{"v":1,"x":' + b"[" * 50_000,
        b'{"v":' + b"9" * 5000 + b"}",
        b'{"v":1e999}',
        b'{"v":true}',
    ],
    ids=repr,
)
def test_nothing_but_a_refusal_comes_of_broken_json(kind: type[Message], data: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        decode(data[:MAX_PAYLOAD_BYTES], kind)

    assert refused.value.code in {"message-malformed", "message-version"}
    assert len(refused.value.reason.line().splitlines()) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(data=st.binary(max_size=300), kind=st.sampled_from(KINDS))
def test_no_bytes_raise_anything_but_a_refusal(data: bytes, kind: type[Message]) -> None:
    with pytest.raises(Rejected):
        decode(data, kind)


@given(number=st.integers(0, len(MESSAGES) - 1), name=st.text(max_size=12), value=JSON, position=st.integers(0, 11))
def test_no_change_of_a_good_message_raises_anything_but_a_refusal(number: int, name: str, value: object, position: int) -> None:
    fields = json.loads(encode(MESSAGES[number]))
    known = list(fields)
    fields[known[position] if position < len(known) else name] = value
    data = json.dumps(fields).encode("utf-8", "surrogatepass")
    try:
        message = decode(data, KINDS[number])
    except Rejected:
        return

    assert decode(encode(message), KINDS[number]) == message


def test_a_deployment_ends_in_one_of_six_states() -> None:
    assert sorted(TERMINAL_STATES) == ["CANCELED", "FAILED", "REJECTED", "SUCCEEDED", "SUPERSEDED", "TIMED_OUT"]


def test_a_good_goal_passes_its_check() -> None:
    desired = MESSAGES[1]
    assert isinstance(desired, Desired)

    assert check_desired(desired) is desired


@pytest.mark.parametrize(
    ("model", "change", "code"),
    [
        ("../etc", {}, "bad-name"),
        ("m", {"deployment": "a/b"}, "bad-name"),
        ("m", {"model_file": "other.onnx"}, "message-malformed"),
        ("m", {"model": Artifact({})}, "artifact-malformed"),
        ("m", {"model": Artifact({"../model.onnx": BLOB})}, "artifact-malformed"),
        ("m", {"calibration": Artifact({"/etc/passwd": BLOB})}, "artifact-malformed"),
        ("m", {"evaluation": Artifact({"a": Blob("short", 5)})}, "artifact-malformed"),
        ("m", {"evaluation": Artifact({"a": Blob(DIGEST, -1)})}, "artifact-malformed"),
    ],
)
def test_a_goal_with_a_name_or_an_artifact_that_is_not_allowed_is_refused(model: str, change: dict[str, Any], code: str) -> None:
    desired = Desired(**WHO, sequence=1, issued_s=1.0, expires_s=2.0, models={model: msgspec.structs.replace(ORDER, **change)})
    with pytest.raises(Rejected) as refused:
        check_desired(desired)

    assert refused.value.code == code


def code_of(fields: dict[str, Any], kind: type[Message]) -> str:
    with pytest.raises(Rejected) as refused:
        decode(json.dumps(fields).encode(), kind)
    return refused.value.code
