"""The document, and everything that a real controller and a real agent say, held against it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from edgewright.core.wire.asyncapi import FILE_NAME, JSON_CHANNELS, document, page
from edgewright.core.wire.frames import CHUNK_BYTES, encode_chunk, encode_shared_blob, encode_unknown_blob
from edgewright.core.wire.messages import Message, decode
from edgewright.core.wire.topics import CHANNELS, RETAINED, parse_topic

jsonschema = pytest.importorskip("jsonschema", reason="the tests need jsonschema: pip install 'edgewright[dev]'")

DEVICE = "board"
END_STATES = {"SUCCEEDED", "REJECTED", "FAILED", "CANCELED", "TIMED_OUT", "SUPERSEDED"}


@pytest.fixture(scope="module")
def asyncapi(project_root: Path) -> dict[str, Any]:
    """The document as it stands in the documentation."""
    found: dict[str, Any] = json.loads((project_root / "docs" / FILE_NAME).read_text(encoding="utf-8"))
    return found


def resolve(asyncapi: dict[str, Any], reference: str) -> Any:
    node: Any = asyncapi
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def check(asyncapi: dict[str, Any], schema: dict[str, Any], value: object) -> None:
    """Hold `value` against a schema of the document; raises what jsonschema raises."""
    jsonschema.Draft7Validator(schema | {"components": asyncapi["components"]}).validate(value)


def check_payload(asyncapi: dict[str, Any], channel: str, payload: bytes) -> None:
    """Hold one payload against what the document says of its channel."""
    (reference,) = asyncapi["channels"][channel]["messages"].values()
    message = resolve(asyncapi, reference["$ref"])
    if message.get("contentType") == "application/octet-stream":
        _check_frame(message["payload"], payload)
        return
    value = json.loads(payload)
    check(asyncapi, message["payload"], value)
    if "x-signed" in message:
        check(asyncapi, message["x-signed"], json.loads(value["signed"]))


def _check_frame(schema: dict[str, Any], payload: bytes) -> None:
    assert schema["minLength"] <= len(payload) <= schema["maxLength"]
    for part in schema["x-layout"]:
        number = int.from_bytes(payload[part["offset"] : part["offset"] + part["bytes"]], "big")
        assert number in part.get("enum", [part.get("const", number)])


def test_the_document_is_up_to_date(project_root: Path) -> None:
    assert (project_root / "docs" / FILE_NAME).read_text(encoding="utf-8") == page(), "python -m edgewright.core.wire.asyncapi docs"


def test_it_describes_every_channel_once_with_its_direction_quality_and_retention(asyncapi: dict[str, Any]) -> None:
    assert asyncapi["asyncapi"] == "3.0.0"
    assert list(asyncapi["channels"]) == [*CHANNELS, "broadcast"]
    said = {
        operation["channel"]["$ref"].rpartition("/")[2]: (
            operation["action"],
            operation["bindings"]["mqtt"]["qos"],
            operation["bindings"]["mqtt"]["retain"],
        )
        for operation in asyncapi["operations"].values()
    }

    assert said == {
        "status": ("send", 1, True),
        "capabilities": ("send", 1, True),
        "desired": ("receive", 1, True),
        "reported": ("send", 1, True),
        "event": ("send", 1, False),
        "telemetry": ("send", 0, False),
        "get": ("send", 0, False),
        "blob": ("receive", 0, False),
        "command": ("receive", 1, False),
        "reply": ("send", 1, False),
        "profile": ("send", 1, False),
        "broadcast": ("receive", 0, False),
    }


@pytest.mark.parametrize("frame", [encode_chunk("0" * 64, 1, b"a"), encode_unknown_blob("0" * 64), encode_shared_blob("0" * 64)])
def test_every_kind_of_frame_is_described(asyncapi: dict[str, Any], frame: bytes) -> None:
    check_payload(asyncapi, "blob", frame)
    check_payload(asyncapi, "broadcast", frame)


def test_every_reference_leads_somewhere(asyncapi: dict[str, Any]) -> None:
    found = set(references(asyncapi))

    assert len(found) > 30
    for reference in found:
        resolve(asyncapi, reference)


def test_every_schema_is_one(asyncapi: dict[str, Any]) -> None:
    for schema in asyncapi["components"]["schemas"].values():
        jsonschema.Draft7Validator.check_schema(schema)
        assert schema["additionalProperties"] is False


def test_a_tuple_has_exactly_its_parts(asyncapi: dict[str, Any]) -> None:
    get = {"v": 1, "fleet": "f", "device": "d", "digest": "0" * 64, "ranges": [[0, 1]], "window": 1}
    check(asyncapi, {"$ref": "#/components/schemas/Get"}, get)
    for ranges in ([[0]], [[0, 1, 2]], [[0, "1"]], [[0, -1]]):
        with pytest.raises(jsonschema.ValidationError):
            check(asyncapi, {"$ref": "#/components/schemas/Get"}, get | {"ranges": ranges})


@pytest.mark.parametrize("channel", sorted(JSON_CHANNELS))
def test_what_is_no_message_of_a_channel_is_refused(asyncapi: dict[str, Any], channel: str) -> None:
    for payload in (b"{}", b"[]", b'{"v":2}', b'{"v":1,"surprise":true}'):
        with pytest.raises(jsonschema.ValidationError):
            check_payload(asyncapi, channel, payload)


def test_a_frame_that_is_too_long_or_of_another_version_is_refused(asyncapi: dict[str, Any]) -> None:
    good = encode_chunk("0" * 64, 1, bytes(CHUNK_BYTES))
    check_payload(asyncapi, "blob", good)
    for bad in (good + b"\0", good[:37], b"\2" + good[1:], good[:1] + b"\7" + good[2:]):
        with pytest.raises(AssertionError):
            check_payload(asyncapi, "blob", bad)


def test_making_the_document_twice_gives_the_same() -> None:
    assert document() == document()


# --- real traffic ---


@dataclass
class Traffic:
    """A client that hears everything beside a served fleet with one real agent."""

    client: Any
    state: Path
    port: int

    def run(self, *arguments: object) -> None:
        from edgewright.cli.main import run

        run(["fleet", *map(str, arguments), "--state", str(self.state)])

    def until_event(self, deployment_number: int, states: set[str]) -> None:
        """Wait for the n-th deployment of the device, in the order of their first events, to come to one of `states`."""

        def found() -> bool:
            seen: dict[str, str] = {}
            for event in self.said("event"):
                seen[event["deployment"]] = event["state"]
            return len(seen) >= deployment_number and list(seen.values())[deployment_number - 1] in states

        self.client.until(found, 90.0)

    def said(self, channel: str) -> list[dict[str, Any]]:
        return [json.loads(entry.payload) for entry in list(self.client.heard) if entry.topic.endswith(f"/{channel}")]


@pytest.fixture(scope="module")
def traffic(load_fake: Callable[[str], ModuleType], mqtt: Any, models: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traffic]:
    """A deployment that succeeds, one that is refused, one that is removed, commands, a profile, and telemetry."""
    from edgewright.cli.main import run

    folder = tmp_path_factory.mktemp("traffic")
    state, device = folder / "state", folder / DEVICE
    model = models.save(models.classifier(), folder / "model" / "tiny.onnx", models.ARRAY_CARD)
    samples = models.save_samples(folder / "samples.npz")
    run(["fleet", "keys", "init", "--state", str(state)])
    with load_fake("serving").ServeProcess(state, "--port", 0) as served:
        port = served.ready["port"]
        run(["fleet", "enroll", DEVICE, "--state", str(state), "--out", str(device), "--device-state", str(device / "state")])
        with (device / "agent.toml").open("a", encoding="utf-8") as file:
            file.write("[telemetry]\ninterval_s = 1.0\n[optimize]\nbench_seconds = 0.1\n")
        client = mqtt.log_in(port, "controller", password=(state / "keys" / "controller.password").read_text().strip())
        client.subscribe("ew/v1/fleet/#")
        agent = subprocess.Popen([sys.executable, "-Im", "edgewright.agent", "--config", device / "agent.toml"], stderr=subprocess.DEVNULL)
        try:
            traffic = Traffic(client, state, port)
            traffic.run("deploy", model, "--calibration", samples, "--name", "m", "--probation", "0.1")
            traffic.until_event(1, END_STATES)
            (folder / "broken.onnx").write_bytes(b"no model")
            traffic.run("deploy", folder / "broken.onnx", "--name", "broken")
            traffic.until_event(2, END_STATES)
            traffic.run("rollback", "broken", "--device", DEVICE, "--wait", "60")
            traffic.run("profile", DEVICE, "--seconds", "0.1", "--wait", "60")
            traffic.run("remove", "broken")
            client.until(lambda: "broken" not in traffic.said("reported")[-1]["models"], 60.0)
            client.until(lambda: traffic.said("telemetry"), 60.0)
            client.close()  # what was heard by now is what the tests look at
            yield traffic
        finally:
            client.close()
            agent.terminate()
            agent.wait(60)


def test_the_session_says_something_on_every_channel(traffic: Traffic) -> None:
    channels = {address.channel for entry in traffic.client.heard if (address := parse_topic(entry.topic)) is not None}

    assert channels == set(CHANNELS)


def test_all_that_is_said_is_described(traffic: Traffic, asyncapi: dict[str, Any]) -> None:
    heard = traffic.client.heard
    for entry in heard:
        address = parse_topic(entry.topic)
        assert address is not None, entry.topic
        assert entry.topic == asyncapi["channels"][address.channel]["address"].format(fleet="fleet", device=DEVICE)
        check_payload(asyncapi, address.channel, entry.payload)

    assert len(heard) > 25


def test_the_types_and_the_schemas_agree_on_what_was_said(traffic: Traffic) -> None:
    for channel, kind in JSON_CHANNELS.items():
        for entry in traffic.client.heard:
            if entry.topic.endswith(f"/{channel}"):
                assert isinstance(decode(entry.payload, kind), Message)


def test_the_session_had_measurements_reasons_and_an_end_of_each_kind(traffic: Traffic) -> None:
    events = traffic.said("event")

    assert {event["state"] for event in events} >= {"OFFERED", "DOWNLOADING", "MEASURED", "PROBATION", "SUCCEEDED"}
    assert any(event["reason"] is not None for event in events)
    assert any(event["measurement"] is not None for event in events)
    assert [reply["ok"] for reply in traffic.said("reply")] == [False, True]


def test_exactly_the_documented_channels_are_retained(traffic: Traffic, mqtt: Any) -> None:
    late = mqtt.log_in(traffic.port, "controller", password=(traffic.state / "keys" / "controller.password").read_text().strip())
    try:
        late.subscribe("ew/v1/fleet/#")
        late.publish("ew/v1/fleet/end/event", b"end")
        late.until_heard("ew/v1/fleet/end/event", b"end")
        late.until(lambda: len({entry.topic for entry in late.heard if entry.retain}) >= len(RETAINED))
        retained = {parse_topic(entry.topic).channel for entry in list(late.heard) if entry.retain}  # type: ignore[union-attr]
    finally:
        late.close()

    assert retained == RETAINED
