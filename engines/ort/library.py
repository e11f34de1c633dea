"""Loads ONNX Runtime, in one place."""

from __future__ import annotations

import os
from typing import Any


def onnxruntime_library() -> Any:
    """The library. Since 1.29 its Linux builds report models and machines to its maker, unless they are told not to before they load.

    Raises:
        ImportError: it is not installed, or does not load.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
