"""The task ``profile``: a `ProfileRequest` in, a `Profile` out."""

from __future__ import annotations

import msgspec

from ..child import Progress
from ..profile import profile
from ..request import ProfileRequest


def run(request: bytes, progress: Progress) -> bytes:
    return msgspec.json.encode(profile(msgspec.json.decode(request, type=ProfileRequest), progress))
