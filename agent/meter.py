"""Counts what the link carries, keeps it over restarts, and answers whether a model may be fetched now. The rules are `metering`'s.

What a crash may lose of the count is bounded by `SAVE_BYTES`: the file is written when so much was carried, and once an hour when anything was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from ..core.activation import parse_activation
from ..core.errors import EdgewrightError, Reason
from ..core.files import write_atomic
from .config import LinkSection
from .metering import Metering, Usage, counted, why_not, with_offset

log = logging.getLogger(__name__)

FILE_NAME = "link.json"
SAVE_BYTES = 4 << 20
TURN_S = 3600.0


def policy_of(section: LinkSection) -> Metering:
    """The policy that the owner wrote down."""
    windows = tuple(parse_activation(text) for text in section.windows)
    return Metering(windows, section.max_bytes_per_day, section.max_bytes_per_month)


class Meter:
    """Owned by the daemon's loop. `carried` counts the bytes of this process, both ways; `now_s` is the best idea of the time."""

    def __init__(
        self,
        state: Path,
        section: LinkSection,
        carried: Callable[[], int],
        now_s: Callable[[], float],
        offset_s: Callable[[float], float] = lambda now_s: float(time.localtime(now_s).tm_gmtoff),
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = state / FILE_NAME
        self._section = section
        self._policy = policy_of(section)
        self._carried, self._now_s, self._offset_s = carried, now_s, offset_s
        self._monotonic_s = monotonic_s
        self._due_s = monotonic_s() + TURN_S
        self._seen = 0
        self.usage = self._saved = self._load()

    @property
    def is_metered(self) -> bool:
        return self._policy.is_metered

    @property
    def due_s(self) -> float | None:
        """When `turn` is due, on the monotonic clock; None = nothing is metered."""
        return self._due_s if self.is_metered else None

    def turn(self) -> None:
        """Count, so that what was carried counts in the day in which it was, and write it down."""
        self._due_s = self._monotonic_s() + TURN_S
        if self.is_metered:
            self._count()
            self.save()

    def why_not(self, *, is_urgent: bool) -> Reason | None:
        """Why no model may be fetched now; None = it may."""
        if not self.is_metered:
            return None
        self._count()
        if is_urgent and self._section.obey_urgent:
            return None
        return why_not(self._local(), self.usage, self._now_s())

    def _local(self) -> Metering:
        return self._policy if self._section.clock == "utc" else with_offset(self._policy, self._offset_s(self._now_s()))

    def _count(self) -> None:
        carried = self._carried()
        self.usage = counted(self.usage, max(0, carried - self._seen), self._now_s(), self._local().offset_s)
        self._seen = carried
        if abs(self.usage.month_bytes - self._saved.month_bytes) >= SAVE_BYTES:
            self.save()

    def save(self) -> None:
        """Bring the count to disk. A disk that does not take it is no reason to stop: others will say so."""
        if not self.is_metered or self.usage == self._saved:
            return
        try:
            write_atomic(self._path, msgspec.json.encode(self.usage), mode=0o600)
            self._saved = self.usage
        except (EdgewrightError, OSError) as error:
            log.warning("What the link has carried could not be written down: %s", error)

    def _load(self) -> Usage:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Usage)
        except FileNotFoundError:
            return Usage()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            log.warning("What the link has carried cannot be read: %s", error)
            return Usage()
