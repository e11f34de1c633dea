"""The task ``verify``: a `VerifyRequest` in, a `Verified` out. In a child, because the daemon carries no cryptography."""

from __future__ import annotations

import msgspec

from ...core.trust import VerifyRequest, verify_envelope
from ..child import Progress


def run(request: bytes, progress: Progress) -> bytes:
    del progress
    return msgspec.json.encode(verify_envelope(msgspec.json.decode(request, type=VerifyRequest)))
