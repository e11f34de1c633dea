"""The journal in memory. The one rule: a change is on disk before it is true here, and its event is spooled after it.

A change that cannot be written down did not happen: the caller gets the disk's error, and what is in memory stays as it was. Only the counters
of elapsed time run ahead of the disk between two saves.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ..core.errors import EdgewrightError, Reason
from ..core.wire.messages import Event, State
from .journal import DeploymentRecord, Journal, JournalFile, ModelRecord
from .outbox import Outbox

log = logging.getLogger(__name__)

NEWS: frozenset[State] = frozenset({"MEASURED", "SUCCEEDED", "REJECTED", "FAILED"})
"""The states whose events carry the measurement."""


class Ledger:
    """Owned by the daemon's loop."""

    def __init__(
        self, file: JournalFile, journal: Journal, outbox: Outbox, fleet: str, device: str, clock_s: Callable[[], float] = time.time
    ) -> None:
        self._file = file
        self._journal = journal
        self._outbox = outbox
        self._fleet = fleet
        self._device = device
        self._clock_s = clock_s
        # The event of the last change may not have reached the outbox before a crash: receivers drop the second one.
        self._unspooled = journal.last_event
        self.trouble: Reason | None = None
        self.spool()

    @property
    def journal(self) -> Journal:
        """Not to be changed by others."""
        return self._journal

    def deployment(self, name: str) -> DeploymentRecord:
        current = self._journal.models[name].deployment
        assert current is not None
        return current

    def commit(self, **changes: Any) -> None:
        """Change fields of the journal.

        Raises:
            Unfit: the journal could not be written; nothing has changed.
        """
        journal = msgspec.structs.replace(self._journal, **changes)
        self._file.save(journal)
        self._journal = journal

    def commit_model(self, name: str, *, event: Event | None = None, **changes: Any) -> None:
        """Change fields of one model's record, which is made when it does not exist yet; `event` tells of it.

        Raises:
            Unfit: as `commit`.
        """
        record = msgspec.structs.replace(self._journal.models.get(name, ModelRecord()), **changes)
        fields: dict[str, Any] = {"models": {**self._journal.models, name: record}}
        if event is not None:
            fields |= {"last_event": event, "event_sequence": event.sequence}
        self.commit(**fields)
        if event is not None:
            self._spool_next(event)

    def commit_deployment(self, name: str, deployment: DeploymentRecord, **changes: Any) -> None:
        """Make `deployment` the model's, tell of its state, and change other fields of the model's record with it.

        Raises:
            Unfit: as `commit`.
        """
        sequence = self._journal.event_sequence + 1
        event = Event(
            fleet=self._fleet,
            device=self._device,
            id=f"{self._device}-{sequence}",
            sequence=sequence,
            deployment=deployment.order.deployment,
            model=name,
            attempt=deployment.attempt,
            state=deployment.state,
            time_s=self._clock_s(),
            reason=deployment.reason,
            measurement=deployment.measurement if deployment.state in NEWS else None,
        )
        self.commit_model(name, event=event, deployment=deployment, **changes)

    def remove_model(self, name: str) -> None:
        """Forget a model.

        Raises:
            Unfit: as `commit`.
        """
        self.commit(models={other: record for other, record in self._journal.models.items() if other != name})

    def know_models(self, names: Iterable[str]) -> None:
        """Models that are on the disk and not in the journal (it was put aside) have a record from here on; written with the next change."""
        self._journal.models.update({name: ModelRecord() for name in names if name not in self._journal.models})

    def save(self) -> None:
        """Bring the counters of elapsed time to disk."""
        self.commit()

    def spool(self) -> None:
        """Put the last event into the outbox if it is not there yet; `trouble` says why it cannot be. The change that it tells of stands."""
        event, self.trouble = self._unspooled, None
        if event is None:
            return
        try:
            self._outbox.add(event)
        except EdgewrightError as error:
            if error.family != "rejected":
                self.trouble = error.reason
                return
            log.warning("Dropped the event %s: %s", event.id, error.reason.line())  # it will never fit a message
        except OSError as error:
            self.trouble = Reason("disk-failed", f"an event could not be spooled: {error}", "Check the disk of this device", "unfit")
            return
        self._unspooled = None

    def _spool_next(self, event: Event) -> None:
        self.spool()  # the one before, if it waits still
        if self._unspooled is not None:
            log.warning("The event %s was never spooled: the disk did not take it", self._unspooled.id)
        self._unspooled = event
        self.spool()
