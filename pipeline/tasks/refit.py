"""The task ``refit``: a `RefitRequest` in, a `BuildResult` out."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..child import Progress
from ..importing import refit_engine
from ..request import RefitRequest
from ..workshop import open_workshop


def run(request: bytes, progress: Progress) -> bytes:
    wanted = msgspec.json.decode(request, type=RefitRequest)
    workshop = open_workshop(None if wanted.identity is None else Path(wanted.identity))
    return msgspec.json.encode(refit_engine(Path(wanted.folder), Path(wanted.model), Path(wanted.out), workshop, progress))
