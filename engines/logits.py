"""Looks behind a final Softmax: writes a model whose outputs are the logits, so that fidelity is measured before saturation hides it."""

from __future__ import annotations

from pathlib import Path

from .fidelity import final_softmax
from .model import read_model


def write_logits_model(model: Path, target: Path) -> Path | None:
    """Write `model` without its final Softmax nodes to `target`; None when there is none. Names of outputs stay."""
    proto = read_model(model)
    found = final_softmax(proto)
    if not found:
        return None
    producers = {output: node for node in proto.graph.node for output in node.output}
    for name in found:
        node = producers[name]
        while node.op_type != "Softmax":
            node = producers[node.input[0]]
        logits = node.input[0]
        last = producers[name]
        proto.graph.node.remove(last)
        if last is not node and not _is_used(proto, node.output[0]):
            proto.graph.node.remove(node)
        bridge = proto.graph.node.add()
        bridge.op_type, bridge.name = "Identity", f"{name}/logits"
        bridge.input.append(logits)
        bridge.output.append(name)
    # What is beside the model is found beside its copy.
    target.write_bytes(proto.SerializeToString())
    return target


def _is_used(proto: object, name: str) -> bool:
    graph = proto.graph  # type: ignore[attr-defined] # a ModelProto has no stubs
    return any(name in node.input for node in graph.node) or any(value.name == name for value in graph.output)
