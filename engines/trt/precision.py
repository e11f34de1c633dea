"""Whether a network is strongly typed: each tensor has the type that the model gives it, and the builder chooses kernels, not precisions."""

from __future__ import annotations

from typing import Any

from ..base import BuildOptions
from ..model import is_half, is_quantized
from .binding import Binding


def is_strongly_typed(binding: Binding, proto: Any, options: BuildOptions) -> bool:
    """Always where nothing else exists (11, RTX); before, when the model's own types are the precision that is asked for.

    Implicit INT8 has no types to go by, and a DLA takes its precision from the flags as long as there are any.
    """
    if not binding.has_strong_typing:
        return False
    return not binding.has_flags or (options.dla_core is None and _says_its_types(proto, options))


def _says_its_types(proto: Any, options: BuildOptions) -> bool:
    return {
        "fp32": False,
        "fp16": is_half(proto),
        "int8": is_quantized(proto),
        "mixed": is_quantized(proto) and is_half(proto),
    }[options.precision]
