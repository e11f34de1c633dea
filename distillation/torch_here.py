"""Whether PyTorch can be used here; asked before anything that needs it is imported."""

from __future__ import annotations

import importlib.util

from ..core.errors import Unfit

_HOW = "pip install 'edgewright[distill]' (on a Jetson: NVIDIA's own wheel)"


def torch_missing() -> str | None:
    """None when PyTorch can be used; else what is missing and how to get it."""
    if importlib.util.find_spec("torch") is None:
        return f"PyTorch is not installed: {_HOW}"
    try:
        importlib.import_module("torch")
    except (ImportError, OSError) as error:
        return f"PyTorch cannot be loaded ({type(error).__name__}): {_HOW}"
    return None


def require_torch() -> None:
    """Raises:
    Unfit: ``torch-missing``.
    """
    reason = torch_missing()
    if reason is not None:
        raise Unfit("torch-missing", reason, "Or distil without it: --forward-only")
