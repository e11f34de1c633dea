"""nvpmodel as a file, which survives a killed process as the real mode does; and sweeps that are killed."""

from __future__ import annotations

import os
import random
import signal
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from edgewright.core.errors import Unfit
from edgewright.profiling.mode_journal import original_mode_kept, restore_mode

ORIGINAL = 2


class FakeSwitch:
    """A `Switch` whose mode is the content of a file."""

    def __init__(self, path: Path, refused: Sequence[int] = ()) -> None:
        self.path, self.refused = path, refused
        self.changes: list[int] = []

    def current(self) -> int | None:
        return int(self.path.read_text()) if self.path.exists() else None

    def change(self, mode: int) -> None:
        if mode in self.refused:
            raise Unfit("mode-refused", "no", "")
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(str(mode))
        temporary.rename(self.path)
        self.changes.append(mode)


def kill_sweeps(folder: Path, count: int, seed: int = 50) -> tuple[int, int]:
    """Sweep in a child and kill it (SIGKILL) at a random moment, `count` times; then restore as the next start does.

    Returns how often the kill left another mode, and how often the original was back with no journal left.
    """
    chance = random.Random(seed)
    journal, mode = folder / "journal.json", folder / "mode"
    left_elsewhere = restored = 0
    for _ in range(count):
        mode.write_text(str(ORIGINAL))
        journal.unlink(missing_ok=True)
        ready, told = os.pipe()
        with warnings.catch_warnings():
            # The child only writes two files and dies: threads that it did not inherit are no matter.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            try:
                os.write(told, b"x")
                with original_mode_kept(journal, FakeSwitch(mode)):
                    while True:
                        for wanted in (0, 1, 3):
                            FakeSwitch(mode).change(wanted)
            finally:
                os._exit(0)
        os.read(ready, 1)
        os.close(ready)
        os.close(told)
        # Anywhere from before the journal is written to far inside the sweep.
        deadline_s = time.monotonic() + chance.expovariate(1 / 0.008)
        while time.monotonic() < deadline_s:
            pass
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        switch = FakeSwitch(mode)
        left_elsewhere += switch.current() != ORIGINAL
        restore_mode(journal, switch)
        restored += (switch.current(), journal.exists()) == (ORIGINAL, False)
    return left_elsewhere, restored
