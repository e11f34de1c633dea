"""A long benchmark in pieces: what is done is on disk after each, and never done again."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


class Pieces:
    """`known` is what is done already, by name. Of several files all are read and the first is written; no piece begins after `minutes`."""

    def __init__(self, paths: Sequence[Path], minutes: float | None) -> None:
        self.path = next(iter(paths), None)
        self.known: dict[str, dict[str, Any]] = {}
        for path in paths:
            self.known |= json.loads(path.read_text("utf-8")) if path.is_file() else {}
        self.end_s = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self.left = 0

    def do(self, name: str, work: Callable[[], dict[str, Any]]) -> None:
        if name in self.known:
            return
        if time.monotonic() > self.end_s:
            self.left += 1
            return
        self.known[name] = work()
        print(name, {key: round(value, 3) if isinstance(value, float) else value for key, value in self.known[name].items()}, flush=True)
        if self.path is not None:
            self.path.write_text(json.dumps(self.known, indent=1), "utf-8")
