"""The AsyncAPI 3.0 description of the wire, made from the messages and topics themselves: ``python -m edgewright.core.wire.asyncapi docs``.

It is seen from the device: what it sends and what it receives. Schemas are JSON Schema draft 7, which AsyncAPI reads natively; they say
all that the messages' types check. What only code can say (names, artifacts, signatures) stands in docs/wire.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from .frames import CHUNK_BYTES, HEADER, KIND_CHUNK, KIND_SHARED_BLOB, KIND_UNKNOWN_BLOB, VERSION
from .messages import (
    WIRE_VERSION,
    Capabilities,
    Command,
    Desired,
    Envelope,
    Event,
    Get,
    Message,
    ProfilePart,
    Reply,
    Reported,
    Status,
    Telemetry,
)
from .topics import CHANNELS, RETAINED, TO_DEVICE, Channel, broadcast_topic, qos_of, topic

BROADCAST = "broadcast"
FILE_NAME = "asyncapi.yaml"  # JSON, which every YAML reader reads

JSON_CHANNELS: dict[Channel, type[Message]] = {
    "status": Status,
    "capabilities": Capabilities,
    "desired": Envelope,
    "reported": Reported,
    "event": Event,
    "telemetry": Telemetry,
    "get": Get,
    "command": Envelope,
    "reply": Reply,
    "profile": ProfilePart,
}
SIGNED: dict[Channel, type[Message]] = {"desired": Desired, "command": Command}

_SUMMARIES: dict[Channel, str] = {
    "status": "Presence; also the last will of every connection, with that connection's session number.",
    "capabilities": "What the device is and has.",
    "desired": "The whole goal of the device, signed.",
    "reported": "The whole truth on the device's disk.",
    "event": "One state change of a deployment; kept on disk until the broker has it.",
    "telemetry": "Periodic health.",
    "get": "A request for chunks of a blob.",
    "blob": "One chunk of a blob, or the word that the controller does not have it or broadcasts it.",
    "command": "An order outside the goal, signed.",
    "reply": "The answer to a command.",
    "profile": "A part of the profile that a command ordered; kept on disk until the broker has it.",
}

Schema = dict[str, Any]


def document() -> Schema:
    """The whole description."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Edgewright's wire",
            "version": str(WIRE_VERSION),
            "description": "MQTT 3.1.1, QoS 0 and 1. Seen from the device: it sends what `action: send` says and receives the rest. See wire.md.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {channel: _channel(channel) for channel in CHANNELS} | {BROADCAST: _broadcast_channel()},
        "operations": {_operation_name(channel): _operation(channel) for channel in CHANNELS} | {f"receive-{BROADCAST}": _broadcast_operation()},
        "components": {"messages": {channel: _message(channel) for channel in CHANNELS}, "schemas": schemas()},
    }


def schemas() -> Schema:
    """Every type of the wire as JSON Schema draft 7, by name."""
    kinds = {kind.__name__: kind for kind in (*JSON_CHANNELS.values(), *SIGNED.values())}
    _, found = msgspec.json.schema_components(kinds.values(), ref_template="#/components/schemas/{name}")
    made: Schema = {name: _draft7(schema) for name, schema in found.items()}
    for name in kinds:
        made[name]["properties"]["v"] = {"const": WIRE_VERSION, "description": "The wire's version, which is read before anything else."}
        made[name]["required"].insert(0, "v")
    return made


def _channel(channel: Channel) -> Schema:
    names = {"fleet": "The fleet's name, of a-z, 0-9 and -.", "device": "The device's name, of a-z, 0-9 and -."}
    return {
        "address": topic("{fleet}", "{device}", channel),
        "summary": _SUMMARIES[channel],
        "parameters": {name: {"description": words} for name, words in names.items()},
        "messages": {channel: {"$ref": f"#/components/messages/{channel}"}},
    }


def _operation_name(channel: Channel) -> str:
    return f"{'receive' if channel in TO_DEVICE else 'send'}-{channel}"


def _operation(channel: Channel) -> Schema:
    return {
        "action": "receive" if channel in TO_DEVICE else "send",
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{channel}"}],
        "bindings": {"mqtt": {"qos": qos_of(channel), "retain": channel in RETAINED, "bindingVersion": "0.2.0"}},
    }


def _broadcast_channel() -> Schema:
    parameters = {"fleet": "The fleet's name, of a-z, 0-9 and -.", "digest": "SHA-256 of the whole blob, in hexadecimal."}
    return {
        "address": broadcast_topic("{fleet}", "{digest}"),
        "summary": "The chunks of a blob that many devices want, for all of them at once.",
        "parameters": {name: {"description": words} for name, words in parameters.items()},
        "messages": {"blob": {"$ref": "#/components/messages/blob"}},
    }


def _broadcast_operation() -> Schema:
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{BROADCAST}"},
        "messages": [{"$ref": f"#/channels/{BROADCAST}/messages/blob"}],
        "bindings": {"mqtt": {"qos": qos_of("blob"), "retain": False, "bindingVersion": "0.2.0"}},
    }


def _message(channel: Channel) -> Schema:
    if channel not in JSON_CHANNELS:
        return {"name": channel, "contentType": "application/octet-stream", "summary": _SUMMARIES[channel], "payload": _frame()}
    name = JSON_CHANNELS[channel].__name__
    message: Schema = {"name": channel, "summary": _SUMMARIES[channel], "payload": {"$ref": f"#/components/schemas/{name}"}}
    if channel in SIGNED:
        message["description"] = f"`signed` is the JSON text of a {SIGNED[channel].__name__}, exactly as it was signed."
        message["x-signed"] = {"$ref": f"#/components/schemas/{SIGNED[channel].__name__}"}
    return message


def _frame() -> Schema:
    return {
        "type": "string",
        "format": "binary",
        "minLength": HEADER.size,
        "maxLength": HEADER.size + CHUNK_BYTES,
        "description": f"A header of {HEADER.size} bytes, numbers big-endian, and the chunk: {CHUNK_BYTES} bytes, fewer in a blob's last one.",
        "x-layout": [
            {"offset": 0, "bytes": 1, "name": "version", "const": VERSION},
            {"offset": 1, "bytes": 1, "name": "kind", "enum": [KIND_CHUNK, KIND_UNKNOWN_BLOB, KIND_SHARED_BLOB]},
            {"offset": 2, "bytes": 32, "name": "digest", "description": "SHA-256 of the whole blob."},
            {"offset": 34, "bytes": 4, "name": "index", "description": "Which chunk."},
        ],
    }


def _draft7(node: Any) -> Any:
    """Tuples by ``items`` and ``additionalItems``, docstrings as one line; everything else is the same in draft 7."""
    if isinstance(node, list):
        return [_draft7(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    made = {key: _draft7(value) for key, value in node.items()}
    if "prefixItems" in made:
        made["items"], made["additionalItems"] = made.pop("prefixItems"), made["items"]
    if isinstance(made.get("description"), str):
        made["description"] = " ".join(made["description"].split())
    return made


def page() -> str:
    """The document as it stands in the documentation."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    (folder,) = sys.argv[1:]
    (Path(folder) / FILE_NAME).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
