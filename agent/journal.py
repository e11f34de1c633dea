"""The journal: what this device knows about its deployments, whole, in one durable file. MQTT is a projection of it.

A save is all or nothing. A journal that cannot be read is put aside, never deleted: the controller's retained goal brings everything back.
What must never go backwards, even then, is the number of starts: sessions and events are numbered from it.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import msgspec

from ..core.errors import EdgewrightError, Reason, Unfit
from ..core.files import write_atomic
from ..core.wire.messages import Event, Measurement, Order, State

log = logging.getLogger(__name__)

VERSION = 1
NUMBERS_PER_START = 1 << 20


class DeploymentRecord(msgspec.Struct, kw_only=True):
    """One deployment, this device's view.

    `elapsed_s` is the time it has been worked on, counted on the monotonic clock and kept over restarts. `built` is the chosen candidate's
    folder in the work folder, and `engine_digest` its engine's, from MEASURED on. `cancel` says who wants its end, `undo` why a roll-back
    that is under way was started. `runtime` is what it was built with. `progress` of the build under way, and what it does. `written_bytes` is
    what this device wrote to its disk while it was worked on, None where the kernel does not say.
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
    progress: float | None = None
    progress_note: str = ""
    written_bytes: int | None = None

    @property
    def engine_folder(self) -> str:
        """The name of its engine's folder among the model's, and of its work folder."""
        return f"{self.order.deployment}-{self.attempt}"


class ModelRecord(msgspec.Struct, kw_only=True):
    """One model.

    `wanted` is the order that is wanted now (None = remove it), `settled` the key of the last wanted one that came to its end here, and
    `deployment` the one that was started last. `proven` succeeded last, with the number and the runtime of its latest attempt: its engine may
    have to be built again. `former` succeeded before it, and may still stand in the previous slot. `leaving` is the engine folder that a roll-back
    takes out; empty when none is under way.
    """

    wanted: Order | None = None
    settled: str = ""
    held: bool = False
    leaving: str = ""
    deployment: DeploymentRecord | None = None
    proven: DeploymentRecord | None = None
    former: DeploymentRecord | None = None


class Answer(msgspec.Struct, frozen=True):
    """What a command came to: `reason` is None when it was obeyed."""

    command: str
    reason: Reason | None


class Journal(msgspec.Struct, kw_only=True):
    """The file's content. `signed_s` is the latest time that a good signature vouched for: boards boot in 1970. `answers` are those to the last
    commands: the controller sends one again, newly signed, until it has heard the answer. `wipe` is the number of the last wipe that the goal asks
    for, `wiped` of the last one that was carried out.
    """

    version: int = VERSION
    desired_sequence: int = 0
    command_sequence: int = 0
    desired_digest: str = ""
    signed_s: float = 0.0
    answers: tuple[Answer, ...] = ()
    event_sequence: int = 0
    last_event: Event | None = None
    models: dict[str, ModelRecord] = {}
    wipe: int = 0
    wiped: int = 0


class JournalFile:
    """Loads and saves the journal of a state folder."""

    def __init__(self, state: Path) -> None:
        self._path = state / "journal.json"

    def load(self, start: int = 1) -> Journal:
        """The journal; a new one when there is none or it cannot be read. A new one numbers its events from the start `start` on, above every
        number that was used before.

        Raises:
            Unfit: ``state-unusable``: the disk does not give it out now.
        """
        fresh = Journal(event_sequence=(start - 1) * NUMBERS_PER_START)
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return fresh
        except OSError as error:
            message = f"the journal {self._path} cannot be read: {error.strerror}"
            raise Unfit("state-unusable", message, "Check the disk, and the owner of the state folder") from error
        try:
            journal = msgspec.json.decode(data, type=Journal)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._put_aside(str(error))
            return fresh
        if journal.version != VERSION:
            self._put_aside(f"it has version {journal.version}")
            return fresh
        return journal

    def save(self, journal: Journal) -> None:
        """Bring the journal to disk before this returns.

        Raises:
            Unfit: ``disk-full`` or ``disk-read-only``; the old journal is whole.
        """
        write_atomic(self._path, msgspec.json.encode(journal), mode=0o600)

    def _put_aside(self, why: str) -> None:
        aside = self._path.with_name(f"journal.unreadable-{int(time.time())}.json")
        self._path.rename(aside)
        log.error("The journal could not be read (%s); it is kept as %s and a new one begun", why, aside.name)


def count_start(state: Path, enrolment: int = 0) -> int:
    """The number of this start of the agent, one above the last one's. A disk that takes no more does not keep the agent from starting.

    It is no lower than `enrolment`, which is above every number of a board that had this name before.
    """
    path = state / "starts"
    try:
        number = int(path.read_bytes()) + 1
    except FileNotFoundError:
        number = 1
    except (OSError, ValueError):
        # Two starts fall into one second only if the first one did nothing.
        number = max(1, int(time.time()))
    number = max(number, enrolment)
    try:
        write_atomic(path, str(number).encode())
    except (EdgewrightError, OSError) as error:
        log.warning("The number of this start could not be written down: %s", error)
    return number
