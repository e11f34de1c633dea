"""The task ``probe``: does the engine in this folder still load and run? Verifies the manifest, opens the engine, runs it once on zeros."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ...core.card import card_from_toml
from ...core.errors import Unfit
from ...engines.base import BuildOptions
from ...engines.discovery import load_backend, usable_backend
from ...engines.manifest import verify_manifest
from ...profiling.board import read_board
from ..child import Progress
from ..measure import zeros_for


class ProbeRequest(msgspec.Struct, frozen=True):
    """The engine folder to probe."""

    folder: str


class ProbeResult(msgspec.Struct, frozen=True):
    """What ran, and on which board."""

    provider: str
    board: str


def run(request: bytes, progress: Progress) -> bytes:
    folder = Path(msgspec.json.decode(request, type=ProbeRequest).folder)
    manifest = verify_manifest(folder)
    usable_backend(manifest.backend)
    progress(0.5, "loading the engine")
    with load_backend(manifest.backend).open(folder / manifest.engine, BuildOptions(threads=manifest.threads)) as runner:
        if runner.provider != manifest.provider:
            message = f"the engine ran on {manifest.provider} when it was measured, and runs on {runner.provider} now"
            raise Unfit("engine-unusable", message, "Deploy the model again")
        card = card_from_toml(folder / manifest.card) if manifest.card else None
        shapes = {} if card is None else {name: entry.shape_opt for name, entry in card.inputs.items() if entry.shape_opt}
        try:
            runner.infer(zeros_for(runner.inputs, 1, shapes))
        except Unfit as error:
            # Free axes that nothing names: the engine opened, which is as much as can be known.
            if error.code != "shapes-unknown":
                raise
        provider = runner.provider
    return msgspec.json.encode(ProbeResult(provider, read_board().model))
