"""The journal: what this device knows about its deployments, whole, in one durable file. MQTT is a projection of it.

One owner (the daemon's loop) changes it in memory and saves it; a save is all or nothing. A journal that cannot be read is put aside, never
deleted: the controller's retained goal brings everything back.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import msgspec

from ..core.errors import Reason
from ..core.files import write_atomic
from ..core.wire.messages import Event, Measurement, Order, State

log = logging.getLogger(__name__)

VERSION = 1


class DeploymentRecord(msgspec.Struct, kw_only=True):
    """One deployment, this device's view.

    `elapsed_s` is the time it has been worked on, counted on the monotonic clock and kept over restarts. `built` is the chosen candidate's
    folder in the work folder, and `engine_digest` its engine's, from MEASURED on. `cancel` says who wants its end, `undo` why a roll-back
    that is under way was started. `runtime` is what it was built with.
    """

    order: Order
    attempt: int = 1
    state: State = "OFFERED"
    reason: Reason | None = None
    measurement: Measurement | None = None
    notes: tuple[str, ...] = ()
    received_s: float = 0.0
    elapsed_s: float = 0.0
    built: str = ""
    engine_digest: str = ""
    cancel: Reason | None = None
    undo: Reason | None = None
    runtime: str = ""
    probation_s: float = 0.0

    @property
    def engine_folder(self) -> str:
        """The name of its engine's folder among the model's, and of its work folder."""
        return f"{self.order.deployment}-{self.attempt}"


class ModelRecord(msgspec.Struct, kw_only=True):
    """One model: the order that is wanted now (None = remove it), and the deployment that was started last."""

    wanted: Order | None = None
    held: bool = False
    deployment: DeploymentRecord | None = None


class Journal(msgspec.Struct, kw_only=True):
    """The file's content. `signed_s` is the latest time that a good signature vouched for: boards boot in 1970."""

    version: int = VERSION
    starts: int = 0
    desired_sequence: int = 0
    command_sequence: int = 0
    desired_digest: str = ""
    signed_s: float = 0.0
    event_sequence: int = 0
    last_event: Event | None = None
    models: dict[str, ModelRecord] = {}


class JournalFile:
    """Loads and saves the journal of a state folder."""

    def __init__(self, state: Path) -> None:
        self._path = state / "journal.json"

    def load(self) -> Journal:
        """The journal; a new one when there is none or it cannot be read."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return Journal()
        try:
            journal = msgspec.json.decode(data, type=Journal)
        except msgspec.DecodeError as error:
            return self._put_aside(str(error))
        if journal.version != VERSION:
            return self._put_aside(f"it has version {journal.version}")
        return journal

    def save(self, journal: Journal) -> None:
        """Bring the journal to disk before this returns.

        Raises:
            Unfit: ``disk-full`` or ``disk-read-only``; the old journal is whole.
        """
        write_atomic(self._path, msgspec.json.encode(journal), mode=0o600)

    def _put_aside(self, why: str) -> Journal:
        aside = self._path.with_name(f"journal.unreadable-{int(time.time())}.json")
        self._path.rename(aside)
        log.error("The journal could not be read (%s); it is kept as %s and a new one begun", why, aside.name)
        return Journal()
