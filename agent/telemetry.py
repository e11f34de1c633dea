"""The periodic health message: sent at once, or spooled while the link is down, so that an outage has no gap in it.

What is spooled goes with QoS 1 when the link is back, and is deleted on the acknowledgement. `MAX_SPOOL_BYTES` bounds it: the oldest go first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from ..core.errors import EdgewrightError
from ..core.wire.messages import Telemetry, encode
from .outbox import Outbox
from .session import Session
from .vitals import cpu_percent, read_vitals

log = logging.getLogger(__name__)

MAX_SPOOL_BYTES = 8 << 20
MAX_SPOOL_COUNT = 50_000
MB = 1e6


class TelemetrySource:
    """Owns ``telemetry/`` of the state folder. Owned by the daemon's loop. `start` is the number of this start of the agent."""

    def __init__(
        self,
        state: Path,
        start: int,
        interval_s: float,
        session: Session,
        clock_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._interval_s = interval_s
        self._session = session
        self._clock_s = clock_s
        self._monotonic_s = monotonic_s
        self.spool = Outbox(state, MAX_SPOOL_COUNT, max_bytes=MAX_SPOOL_BYTES, folder="telemetry")
        self._vitals = read_vitals(state)
        self._prefix, self._number = f"{start:012d}", 0
        self._due_s = monotonic_s() + interval_s

    @property
    def due_s(self) -> float | None:
        """When `turn` is due, on the monotonic clock; None = never."""
        return self._due_s if self._interval_s > 0 else None

    def turn(self) -> None:
        """Say how the device is."""
        self._due_s = self._monotonic_s() + self._interval_s
        message = self._message()
        if self._session.publish("telemetry", message) is not None:
            return
        self._number += 1
        try:
            self.spool.put(f"{self._prefix}-{self._number:010d}.json", encode(message))
        except (EdgewrightError, OSError) as error:
            log.warning("The telemetry of now is lost: %s", error)

    def flush(self) -> None:
        """The link is up, or has taken something: hand over what waits."""
        self.spool.flush(self._session.publish_telemetry)

    def _message(self) -> Telemetry:
        vitals, before = read_vitals(self._state), self._vitals
        self._vitals = vitals
        traffic = self._session.traffic
        return Telemetry(
            fleet=self._session.fleet,
            device=self._session.device,
            time_s=self._clock_s(),
            uptime_s=vitals.uptime_s,
            cpu_percent=cpu_percent(before, vitals),
            memory_used_mb=vitals.memory_used_mb,
            disk_free_mb=vitals.disk_free_mb,
            temperature_c=vitals.temperature_c,
            power_reason="the idle agent reads no power sensor; edgewright power does",
            written_mb=None if vitals.written_bytes is None else round(vitals.written_bytes / MB, 3),
            sent_mb=round(traffic.sent_bytes / MB, 3),
            received_mb=round(traffic.received_bytes / MB, 3),
        )
