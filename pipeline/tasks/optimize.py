"""The task ``optimize``: an `OptimizeRequest` in, an `OptimizeResult` out."""

from __future__ import annotations

import msgspec

from ..child import Progress
from ..optimize import optimize
from ..request import OptimizeRequest


def run(request: bytes, progress: Progress) -> bytes:
    result = optimize(msgspec.json.decode(request, type=OptimizeRequest), progress=progress, cancel=lambda: False)
    return msgspec.json.encode(result)
