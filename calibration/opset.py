"""Raises a model's opset where a way of writing needs operators that came later."""

from __future__ import annotations

from typing import Any

import onnx

from ..core.errors import Unfit
from ..engines.model import first_line
from .graph import opset_of

_IR_OF_OPSET = {19: 9, 21: 10, 23: 11}


def at_least(model: Any, opset: int, what: str) -> Any:
    """`model` itself, or a copy of it with ONNX's operators of version `opset`, which `what` needs.

    Raises:
        Unfit: ``opset-too-old`` when ONNX cannot convert it.
    """
    if opset_of(model) >= opset:
        return model
    try:
        converted = onnx.version_converter.convert_version(model, opset)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        message = f"{what} needs opset {opset}, to which this model cannot be converted: {first_line(error)}"
        raise Unfit("opset-too-old", message, f"Export the model with opset {opset} or newer") from error
    converted.ir_version = max(converted.ir_version, _IR_OF_OPSET[opset])
    return converted
