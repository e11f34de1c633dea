"""Renews the certificates of devices before they expire: for the key that each has, so that no secret travels. They come with the goal."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable

from .authority import RENEW_DAYS, is_revoked, reissue
from .orders import Orders
from .paths import FleetPaths

log = logging.getLogger(__name__)

LOOK_S = 60.0
DAY_S = 86400.0


class Renewals:
    """For one thread of the serving process."""

    def __init__(self, paths: FleetPaths, fleet: str, orders: Orders, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._paths, self._fleet, self._orders = paths, fleet, orders
        self._monotonic_s = monotonic_s
        self._due_s = 0.0

    def look(self, now_s: float) -> list[str]:
        """Renew what is due, some of it, once in `LOOK_S`; returns the devices. Who was revoked gets nothing."""
        if self._monotonic_s() < self._due_s:
            return []
        self._due_s = self._monotonic_s() + LOOK_S
        renewed = []
        for device, serial, pem in self._orders.expiring(now_s + RENEW_DAYS * DAY_S):
            if is_revoked(self._paths, serial):
                continue
            issued = reissue(self._paths, self._fleet, device, pem, dt.datetime.fromtimestamp(int(now_s), tz=dt.timezone.utc))
            self._orders.certified(device, issued.serial, issued.expires_s, issued.certificate, is_reissued=True)
            log.info("Renewed the certificate of %s", device)
            renewed.append(device)
        return renewed
