"""Another JetPack: every Python whose path has this folder reads its board's release from the file ``$EDGEWRIGHT_FAKE_RELEASE``.

The name is what Python imports by itself when it starts; without the variable nothing is changed.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path


def _pretend(file: Path) -> None:
    from edgewright.profiling import board

    real = board.read_board

    def read_board(root: Path = Path("/")) -> board.Board:
        return replace(real(root), release=file.read_text("utf-8").strip())

    board.read_board = read_board


if "EDGEWRIGHT_FAKE_RELEASE" in os.environ:
    _pretend(Path(os.environ["EDGEWRIGHT_FAKE_RELEASE"]))
