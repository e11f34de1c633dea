"""What TensorRT's words mean, as this program's errors. Pure: lines in, an error out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ...core.errors import EdgewrightError, Faulty, Rejected, Unfit

_MEMORY = re.compile(
    r"out of memory|OutOfMemory|cudaErrorMemoryAllocation|insufficient memory|Could not allocate|Error Code 2: OutOfMemory", re.IGNORECASE
)
_NO_PROFILE = re.compile(r"no optimization profile has been defined|Network has dynamic or shape inputs", re.IGNORECASE)
_CANCELLED = re.compile(r"BuildCanceled|Error Code 7")
_OTHER_HARDWARE = re.compile(r"compute capability|different (device|GPU)|built for|generated for|SM \d+|platform|Target GPU SM", re.IGNORECASE)
_OTHER_VERSION = re.compile(
    r"[Vv]ersion tag|serialization version|Version mismatch|expecting engine plan version|Serialized Engine Version", re.IGNORECASE
)
_NO_DEVICE = re.compile(r"CUDA initialization failure|no CUDA-capable device|CUDA driver version is insufficient|error: 35\b|error 35\b")
_FIT_MODEL = "Export the model with operators and types that this TensorRT supports; see its operator table"


@dataclass(frozen=True, slots=True)
class ParserComplaint:
    """One error of the ONNX parser; `node` is −1 where it is about the file."""

    node: int
    node_name: str
    operator: str
    description: str
    code: str


def parser_error(model: str, complaints: Iterable[ParserComplaint], lines: Iterable[str]) -> Rejected:
    """Why the parser refused `model`: node, operator and its own words."""
    found = list(complaints)
    text = "; ".join(_words(complaint) for complaint in found[:4]) or last_line(lines) or "it gave no reason"
    if any(complaint.code in {"MODEL_DESERIALIZE_FAILED", "INVALID_GRAPH"} for complaint in found) or not found:
        return Rejected("model-unreadable", f"TensorRT cannot read {model}: {text}", "Export the model again; onnx.checker tells more")
    return Rejected("operator-unsupported", f"TensorRT refuses {model}: {text}", _FIT_MODEL)


def _words(complaint: ParserComplaint) -> str:
    if complaint.node < 0 and not complaint.operator:
        return complaint.description
    name = f" {complaint.node_name!r}" if complaint.node_name else ""
    return f"node {complaint.node}{name} ({complaint.operator or 'unknown operator'}): {complaint.description}"


def build_error(model: str, lines: Iterable[str]) -> EdgewrightError:
    """Why the builder gave no engine."""
    kept = list(lines)
    text = "\n".join(kept)
    why = last_line(kept) or "it gave no reason"
    if _CANCELLED.search(text):
        return Unfit("cancelled", "the build was cancelled", "Start it again")
    if _MEMORY.search(text):
        return Unfit("out-of-memory", f"there is not enough memory to build {model}: {why}", "Free memory, lower workspace_mb or the batch")
    if _NO_PROFILE.search(text):
        return Rejected("profile-missing", f"{model} has free axes and no profile: {why}", "Add shape_min, shape_opt and shape_max to its card")
    if _NO_DEVICE.search(text):
        return Unfit("backend-unavailable", f"TensorRT finds no usable GPU: {why}", "Check the driver: edgewright doctor")
    return Rejected("build-refused", f"TensorRT could not build {model}: {why}", _FIT_MODEL)


def load_error(engine: str, lines: Iterable[str]) -> Unfit:
    """Why a plan could not be deserialised."""
    kept = list(lines)
    text = "\n".join(kept)
    why = last_line(kept) or "it gave no reason"
    again = "Build it again on this device"
    if _OTHER_VERSION.search(text):
        return Unfit("engine-foreign", f"{engine} was built with another version of TensorRT: {why}", again)
    if _NO_DEVICE.search(text):
        return Unfit("backend-unavailable", f"TensorRT finds no usable GPU: {why}", "Check the driver: edgewright doctor")
    if _MEMORY.search(text):
        return Unfit("out-of-memory", f"there is not enough memory to load {engine}: {why}", "Free memory or use a smaller model")
    if _OTHER_HARDWARE.search(text):
        return Unfit("engine-foreign", f"{engine} was built for another GPU: {why}", again)
    return Unfit("engine-unusable", f"TensorRT cannot load {engine}: {why}", again)


def device_error(error: Exception) -> Unfit:
    """``pybind11::init(): factory function returned nullptr``: what the bindings raise when CUDA does not start (TensorRT issue 2913)."""
    return Unfit("backend-unavailable", f"TensorRT does not start on this machine: {error}", "Check the driver and the GPU: edgewright doctor")


def run_error(what: str) -> Faulty:
    return Faulty("inference-failed", f"TensorRT failed: {what}", "Report this with the model and the log")


def last_line(lines: Iterable[str]) -> str:
    """The last thing that was said, on one line."""
    kept = [line.strip() for line in lines if line.strip()]
    return " ".join(kept[-1].split())[:400] if kept else ""
