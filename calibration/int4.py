"""Writes INT4 weights in blocks, for matrix products whose time goes into reading weights; activations stay float32.

    DequantizeLinear(codes: int4, scales, axis, block_size) → MatMul        ONNX opset 21; ONNX Runtime runs both as one kernel (MatMulNBits)

Rules:
1. MatMul and Gemm with constant float32 matrices of at least `MIN_INPUTS` inputs and `MIN_WEIGHTS` weights; the rest stays, with its reason.
2. A Gemm becomes a MatMul, and an Add where it has a bias: that is what the runtime has a kernel for.
3. Each block of `BLOCK` inputs of one output has its own scale: of a few that cut the largest weights the one with the least squared error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..core.dataset import Dataset
from ..core.errors import Rejected
from ..core.files import write_atomic
from .collect import keep_samples
from .graph import Graph, attribute
from .keep import KeptSamples
from .normalize import normalized_model
from .opset import at_least
from .plan import Skipped, node_name
from .verify import MAX_SAMPLES
from .written import Written, proof

INT4_NAME = "model.int4.onnx"
OPSET = 21
BLOCK = 32
MIN_INPUTS, MIN_WEIGHTS = 64, 4096
FAITHFUL_DB = 15.0
_CUTS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7)

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Int4Model:
    """The written model, how many products have INT4 weights, and which have not."""

    model: Any
    layers: int
    kept: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix, inputs × outputs, in codes −8 … 7, with scales blocks × outputs."""

    codes: Codes
    scales: Floats


def write_int4(
    model: Path,
    dataset: Dataset,
    out: Path,
    *,
    threads: int = 0,
    progress: Callable[[float, str], None] = lambda _share, _note: None,
    cancel: Callable[[], bool] = lambda: False,
) -> Written:
    """Write `model` with INT4 weights into the existing folder `out`, as ``model.int4.onnx``, and run it here on samples of `dataset`.

    Raises:
        Rejected: ``nothing-to-quantise``, or what is wrong with the model or the data.
        Unfit: ``cancelled``, ``opset-too-old``.
    """
    progress(0.0, "reading the model")
    normalized = normalized_model(model)
    graph = Graph(at_least(normalized.model, OPSET, "INT4"))
    written = int4_model(graph)
    if not written.layers:
        reasons = "; ".join(sorted({entry.reason for entry in written.kept})) or "it has no MatMul or Gemm"
        raise Rejected("nothing-to-quantise", f"no weights of {model.name} can be INT4: {reasons}", "Use --precision int8")
    data: bytes = written.model.SerializeToString()
    with KeptSamples(out, MAX_SAMPLES) as kept:
        keep_samples(dataset, kept, cancel=cancel)
        progress(0.5, "verifying the INT4 model")
        found = proof(normalized.model, data, kept, threads, what="INT4", faithful_db=FAITHFUL_DB)
    write_atomic(out / INT4_NAME, data)
    progress(1.0, "written in INT4")
    return Written(out / INT4_NAME, written.layers, written.kept, dataset.samples, found.sqnr_db, (*normalized.notes, *found.notes))


def int4_model(graph: Graph) -> Int4Model:
    """`graph`, of opset 21 or newer, with INT4 weights where the rules allow them."""
    written = onnx.ModelProto()
    written.CopyFrom(graph.model)
    nodes: list[Any] = []
    constants: list[Any] = []
    kept: list[Skipped] = []
    for node in graph.nodes:
        if node.op_type not in {"MatMul", "Gemm"}:
            nodes.append(node)
            continue
        reason = _refusal(graph, node)
        if reason is not None:
            kept.append(Skipped(node_name(node), node.op_type, reason))
            nodes.append(node)
            continue
        nodes += _product(graph, node, constants)
    del written.graph.node[:]
    written.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input} | graph.captured | graph.outputs
    others = [tensor for tensor in written.graph.initializer if tensor.name in used]
    del written.graph.initializer[:]
    written.graph.initializer.extend([*others, *constants])
    written.producer_name = "edgewright"
    return Int4Model(written, sum(node.op_type == "DequantizeLinear" and node.name.endswith("/int4") for node in nodes), tuple(kept))


def block_codes(matrix: Floats, block: int = BLOCK) -> Blocks:
    """`matrix` (inputs × outputs) by rule 3; a last block may be shorter."""
    inputs, outputs = matrix.shape
    count = -(-inputs // block)
    padded = np.zeros((count * block, outputs), np.float64)
    padded[:inputs] = matrix
    blocks = padded.reshape(count, block, outputs)
    largest = np.maximum(np.abs(blocks).max(axis=1), 1e-12)
    scales, least = largest / 7, np.full(largest.shape, np.inf)
    for cut in _CUTS:
        tried = largest * cut / 7
        errors = ((np.clip(np.rint(blocks / tried[:, None]), -8, 7) * tried[:, None] - blocks) ** 2).sum(axis=1)
        is_better = errors < least
        scales, least = np.where(is_better, tried, scales), np.where(is_better, errors, least)
    narrow = scales.astype(np.float32)
    codes = np.clip(np.rint(blocks / narrow[:, None]), -8, 7).astype(np.int8).reshape(count * block, outputs)[:inputs]
    return Blocks(codes, narrow)


def packed(codes: Codes, name: str) -> Any:
    """Two codes a byte, the first in the lower half, as ONNX keeps INT4."""
    flat = codes.reshape(-1).astype(np.uint8) & 15
    if flat.size % 2:
        flat = np.append(flat, np.uint8(0))
    return TensorProto(name=name, data_type=TensorProto.INT4, dims=codes.shape, raw_data=(flat[0::2] | flat[1::2] << 4).tobytes())


def _refusal(graph: Graph, node: Any) -> str | None:
    weight = graph.constant(node.input[1])
    if weight is None:
        return "its weights are not constant"
    if weight.dtype != np.float32 or weight.ndim != 2 or node.input[0] not in graph.float_tensors:
        return "its weights are not a float32 matrix"
    inputs = weight.shape[1] if node.op_type == "Gemm" and attribute(node, "transB", 0) else weight.shape[0]
    if inputs < MIN_INPUTS or weight.size < MIN_WEIGHTS:
        return "it has too few weights to gain from INT4"
    if node.op_type == "Gemm" and (attribute(node, "transA", 0) or attribute(node, "alpha", 1.0) != 1.0 or attribute(node, "beta", 1.0) != 1.0):
        return "it scales or transposes its input"
    return None


def _product(graph: Graph, node: Any, constants: list[Any]) -> list[Any]:
    """The nodes that take the place of a MatMul or Gemm; what they read is added to `constants`."""
    weight = graph.constant(node.input[1])
    assert weight is not None
    matrix = weight.T if node.op_type == "Gemm" and attribute(node, "transB", 0) else weight
    blocks = block_codes(np.ascontiguousarray(matrix))
    name = node_name(node)
    codes, scales, real = (f"{name}/weight/{part}" for part in ("q", "scale", "dq"))
    constants += [packed(blocks.codes, codes), numpy_helper.from_array(blocks.scales, scales)]
    nodes = [helper.make_node("DequantizeLinear", [codes, scales], [real], f"{name}/int4", axis=0, block_size=BLOCK)]
    output = node.output[0]
    if node.op_type == "Gemm" and len(node.input) > 2 and node.input[2]:
        product = f"{name}/product"
        nodes.append(helper.make_node("MatMul", [node.input[0], real], [product], name))
        nodes.append(helper.make_node("Add", [product, node.input[2]], [output], f"{name}/add"))
    else:
        nodes.append(helper.make_node("MatMul", [node.input[0], real], [output], name))
    return nodes
