"""Clean-up: constants folded, batch norms and constant factors folded into the layers before them, dead nodes removed.

ONNX Runtime's basic graph optimisations do it: they keep to standard operators and leave the arithmetic as it is.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import onnx

from ...engines.ort.library import onnxruntime_library
from ...engines.ort.providers import CPU
from ...engines.ort.session import load_error
from ..base import Context, Gain, PassOptions, PassResult, Trait
from ..network import Network


class FoldOptions(PassOptions, frozen=True, kw_only=True):
    """There are none."""


class Fold:
    """The pass ``fold``. What it ensures the other passes require."""

    options = FoldOptions
    requires: frozenset[Trait] = frozenset()
    forbids: frozenset[Trait] = frozenset()
    ensures: frozenset[Trait] = frozenset({"folded"})
    gain: Gain = "none"
    needs_data = False

    def unavailable(self) -> str | None:
        return None

    def call(self, network: Network, options: FoldOptions, context: Context) -> PassResult:
        before = len(network.model.graph.node)
        model = _optimized(network.model)
        after = len(model.graph.node)
        return PassResult(model, modified=True, notes=(f"{before} nodes became {after}",) if after != before else ())


def _optimized(model: Any) -> Any:
    onnxruntime = onnxruntime_library()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory(prefix="edgewright-fold-") as folder:
        target = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(target)
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[CPU])
        except Exception as error:
            raise load_error("the model", error) from error
        folded = onnx.load(str(target))
    opset = next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"})
    domains = {node.domain for node in folded.graph.node} - {"", "ai.onnx"}
    kept = [entry for entry in folded.opset_import if entry.domain in domains]
    del folded.opset_import[:]
    folded.opset_import.append(onnx.helper.make_opsetid("", opset))
    folded.opset_import.extend(kept)
    _name_nodes(folded.graph)
    del folded.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(folded, strict_mode=False, data_prop=True)


def _name_nodes(graph: Any) -> None:
    """Every node gets a name of its own: layers are found by theirs."""
    seen: set[str] = set()
    for node in graph.node:
        name = node.name if node.name and node.name not in seen else node.output[0]
        while name in seen:
            name += "_"
        node.name = name
        seen.add(name)


PASS = Fold()
