"""The task ``rebuild``: fill files from what the device has, by deltas and recipes. What it writes is worth nothing until its digest was checked."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from ...core.delta.codec import apply_delta
from ...core.delta.recipe import fill
from ...core.errors import EdgewrightError, Rejected
from ..child import Progress
from ..request import RebuildItem, RebuildRequest

log = logging.getLogger(__name__)

MAX_INPUT_BYTES = 1 << 30


def run(request: bytes, progress: Progress) -> bytes:
    """One item after the other; one that fails leaves its target as it is, and does not keep the others from theirs."""
    wanted = msgspec.json.decode(request, type=RebuildRequest)
    made = 0
    for number, item in enumerate(wanted.items):
        progress(number / len(wanted.items), f"rebuilding {Path(item.target).name[:12]}…")
        try:
            _rebuild(item)
            made += 1
        except (EdgewrightError, OSError) as error:
            log.warning("%s is fetched whole: %s", Path(item.target).name[:12], error)
    return msgspec.json.encode(made)


def _rebuild(item: RebuildItem) -> None:
    target = Path(item.target)
    if item.delta is not None and item.base is not None:
        apply_delta(Path(item.base), _read(item.delta), target, item.size_bytes)
    elif item.recipe is not None:
        fill(target, _read(item.recipe), [Path(source) for source in item.sources], item.size_bytes)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        data = file.read(MAX_INPUT_BYTES + 1)
    if len(data) > MAX_INPUT_BYTES:
        raise Rejected("delta-malformed", f"{Path(path).name[:12]}… is too large", "The whole file is fetched instead")
    return data
