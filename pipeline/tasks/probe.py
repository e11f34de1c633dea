"""The task ``probe``: may the engine in this folder be loaded, and does it still run? Every check of `check_folder`, then once on zeros."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ...core.card import card_from_toml
from ...core.errors import Unfit
from ...engines.opening import check_folder
from ...engines.provenance import trusted_by_user, trusted_keys
from ...profiling.board import read_board
from ..child import Progress
from ..measure import zeros_for


class ProbeRequest(msgspec.Struct, frozen=True):
    """The engine folder to probe, and the state folder with the device's public engine key; None = this user's."""

    folder: str
    state: str | None = None


class ProbeResult(msgspec.Struct, frozen=True):
    """What ran, and on which board."""

    provider: str
    board: str


def run(request: bytes, progress: Progress) -> bytes:
    wanted = msgspec.json.decode(request, type=ProbeRequest)
    folder = Path(wanted.folder)
    checked = check_folder(folder, trusted_by_user() if wanted.state is None else trusted_keys(Path(wanted.state)))
    manifest = checked.manifest
    progress(0.5, "loading the engine")
    with checked.open() as runner:
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
