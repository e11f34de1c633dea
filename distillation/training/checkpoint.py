"""A training on disk: everything that the next step depends on, in one file that is replaced at once and read without running any code."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from ...core.errors import Rejected
from ...core.files import write_atomic
from ..record import History

FILE = "checkpoint.pt"
_AGAIN = "Start again without --resume in a new folder"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`identity` says of which student, teacher and losses; `epoch` and `step` where to go on; `optimizer` is its own state."""

    identity: str
    epoch: int
    step: int
    params: dict[str, Tensor]
    stats: dict[str, Tensor]
    regressors: dict[str, Tensor]
    optimizer: Any
    history: History
    sums: tuple[float, ...]

    def save(self, folder: Path) -> None:
        """Replace the checkpoint in `folder`, on disk before this returns."""
        fields = {name: getattr(self, name) for name in self.__slots__} | {"history": msgspec.json.encode(self.history).decode()}
        stream = io.BytesIO()
        torch.save(fields, stream)
        write_atomic(folder / FILE, stream.getvalue())


def read_checkpoint(folder: Path, identity: str) -> Checkpoint:
    """The checkpoint in `folder`.

    Raises:
        Rejected: ``checkpoint-missing``, ``checkpoint-unreadable``, ``checkpoint-other`` when it is of another student, teacher or data.
    """
    path = folder / FILE
    if not path.is_file():
        raise Rejected("checkpoint-missing", f"there is no {FILE} in {folder}", "Leave --resume out, or name the folder of an earlier run")
    try:
        fields = torch.load(path, weights_only=True, map_location="cpu")
        history = msgspec.json.decode(fields.pop("history"), type=History)
        found = Checkpoint(history=history, **{**fields, "sums": tuple(fields["sums"])})
    except Exception as error:
        raise Rejected("checkpoint-unreadable", f"{path} cannot be read: {type(error).__name__}", _AGAIN) from error
    if found.identity != identity:
        raise Rejected("checkpoint-other", f"the checkpoint in {folder} is of another student, teacher, data or set of losses", _AGAIN)
    return found
