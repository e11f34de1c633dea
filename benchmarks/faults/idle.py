"""What an idle agent says and writes: the bytes of its connection as a proxy carries them, and those that the kernel counts for its process."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from .ground import Ground
from .links import Links

DAY_S = 86400.0
HEADERS_BYTES = 40
"""IPv4 and TCP, without options."""
CALM_S = 20.0


@dataclass(frozen=True, slots=True)
class Idle:
    """Over `seconds`; per day they are extrapolated. `wire_bytes` is what TCP carried, both ways, `segments` in how many pieces; `bursts` is how many
    of those began a talk: each talk ends with an acknowledgement of its own.
    """

    seconds: float
    wire_bytes: int
    segments: int
    bursts: int
    flash_bytes: int

    @property
    def wire_mb_per_day(self) -> float:
        """With headers."""
        return (self.wire_bytes + HEADERS_BYTES * (self.segments + self.bursts)) * DAY_S / self.seconds / 1e6

    @property
    def flash_mb_per_day(self) -> float:
        return self.flash_bytes * DAY_S / self.seconds / 1e6


def watch_idle(ground: Ground, links: Links, seconds: float) -> Idle:
    """An agent with a finished deployment, its telemetry and its keep-alive, and nothing to do. `ground` has to lie on a disk that counts."""
    ground.until(ground.is_at_rest, "an agent with nothing to do")
    time.sleep(CALM_S)  # its last report goes out a second later
    before = _counts(ground, links)
    began_s = time.monotonic()
    time.sleep(seconds)
    after = _counts(ground, links)
    return Idle(time.monotonic() - began_s, *(now - then for now, then in zip(after, before, strict=True)))


def _counts(ground: Ground, links: Links) -> tuple[int, int, int, int]:
    return links.proxy.moved_bytes, links.proxy.moves, links.proxy.bursts, _written_bytes(ground.lives[-1])


def _written_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/io").read_text("ascii").splitlines():
        if line.startswith("write_bytes:"):
            return int(line.partition(":")[2])
    raise AssertionError("the kernel counts no written bytes")
