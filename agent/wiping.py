"""A wipe: the device erases what it has made and measured, beside the models that its goal does not name any more.

The number that the goal asks for is in the journal before anything is erased, and the number that was carried out after it: a crash in between
has it done again. What is under way is waited for: builds read what is erased here.
"""

from __future__ import annotations

import logging
import shutil
import threading
from typing import TYPE_CHECKING

from ..core.errors import Reason
from ..core.files import disk_errors, sync_folder
from .lanes import Job

if TYPE_CHECKING:
    from .deployer import Deployer

log = logging.getLogger(__name__)

ERASED = "cache"
"""Engines, range tables, fidelities, costs and timings of earlier builds. Blobs, slots and work folders go with their models."""


class Wiping:
    """Owned by the daemon's loop."""

    def __init__(self, deployer: Deployer) -> None:
        self._deployer = deployer
        self._is_under_way = False

    def turn(self) -> None:
        """Begin with what is asked for, once every model that is not wanted has gone."""
        journal = self._deployer.journal
        if self._is_under_way or journal.wiped >= journal.wipe or any(record.wanted is None for record in journal.models.values()):
            return
        number, folder = journal.wipe, self._deployer.parts.config.state / ERASED

        def run(_cancel: threading.Event) -> None:
            if not folder.is_dir():
                return
            with disk_errors(folder):
                shutil.rmtree(folder)
                sync_folder(folder.parent)

        self._is_under_way = True
        # Behind the builds, whose lane does one thing at a time.
        self._deployer.parts.lanes.submit("build", Job("wipe", run, lambda _: self._done(number), self._failed))

    def _done(self, number: int) -> None:
        self._is_under_way = False
        self._deployer.ledger.commit(wiped=number)
        self._deployer.note("wipe", None)
        log.info("Wiped what this device had made and measured")
        self._deployer.parts.changed()
        self._deployer.advance()

    def _failed(self, reason: Reason) -> None:
        """It is begun again when something happens, or at the next start: the journal knows."""
        self._is_under_way = False
        self._deployer.note("wipe", reason)
