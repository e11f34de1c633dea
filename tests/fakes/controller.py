"""The real serving process in a thread, beside a real broker."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from edgewright.controller.blobs import BlobStore
from edgewright.controller.broadcast import MIN_DEVICES
from edgewright.controller.conductor import Conductor
from edgewright.controller.database import Database
from edgewright.controller.demand import Demand
from edgewright.controller.keys import init_keys
from edgewright.controller.leases import Alone
from edgewright.controller.orders import Orders
from edgewright.controller.paths import FleetPaths
from edgewright.controller.recorder import Recorder
from edgewright.controller.reports import Reports
from edgewright.controller.service import Parts, Service
from edgewright.controller.signing import Signing
from edgewright.core.wire.link import LinkOptions

WAIT_S = 20.0
YEAR_S = 365 * 86400


class ServingController:
    """A fleet with the devices ``board-1`` and ``board-2``; `orders` and `reports` work on a connection of their own, as the command line does."""

    def __init__(self, folder: Path, options: LinkOptions) -> None:
        self.paths = FleetPaths(folder)
        init_keys(self.paths, "fleet", dt.datetime.now(dt.timezone.utc).replace(microsecond=0))
        self.database = Database(self.paths.database)
        self.orders, self.reports = Orders(self.database, "fleet"), Reports(self.database)
        self.blobs = BlobStore(self.paths.blobs)
        for name in ("board-1", "board-2"):
            self.orders.enroll(name, 1.0)
        self._served = Database(self.paths.database)
        served = Orders(self._served, "fleet")
        parts = Parts(
            fleet="fleet",
            orders=served,
            conductor=Conductor(self._served, served),
            recorder=Recorder(self._served),
            blobs=self.blobs,
            signing=Signing(self.paths),
            change_mark=self._served.change_mark,
            sharing=Alone(),
            demand=Demand(self._served, MIN_DEVICES),
        )
        self.service = Service(parts, options)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        with closing(self._served), closing(self.service):
            self.service.start()
            self.service.run(self._stop.is_set)

    def until(self, look: Callable[[], Any]) -> Any:
        """What `look` sees in the database as soon as it is true. Another thread writes it: there is nothing to wait on but the clock."""
        deadline_s, idle = time.monotonic() + WAIT_S, threading.Event()
        while not (found := look()):
            assert time.monotonic() < deadline_s, "it did not happen in time"
            idle.wait(0.01)
        return found

    def close(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(WAIT_S)
            assert not self._thread.is_alive()
        else:
            self._served.close()
        self.database.close()
