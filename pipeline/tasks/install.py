"""The task ``install``: a version of the agent into an environment of its own. See `pipeline.installing`."""

from __future__ import annotations

import msgspec

from ..child import Progress
from ..installing import install
from ..request import InstallRequest


def run(request: bytes, progress: Progress) -> bytes:
    install(msgspec.json.decode(request, type=InstallRequest), progress)
    return b"null"
