"""The slots of a model: active, previous, trial; and the link that the application follows.

``models/NAME/engines/FOLDER`` holds engines, ``models/NAME/slots.json`` says which is what, ``models/NAME/current`` is a symbolic link to the
one that runs. ``slots.json`` is written first, the link after it: whoever finds them different repairs the link (`repair`). The daemon and
the revert process both come here; a lock on the folder keeps them apart.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ..core.errors import Reason, Unfit
from ..core.files import link_atomic, move_durably, remove_leftovers, sync_tree, write_atomic
from ..core.wire.messages import SlotReport

CURRENT = "current"
ENGINES = "engines"


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """One engine folder, and the deployment that built it."""

    folder: str
    deployment: str
    version: str
    backend: str
    engine_digest: str
    since_s: float
    runtime: str = ""

    def report(self, starts: int = 0) -> SlotReport:
        return SlotReport(
            deployment=self.deployment,
            version=self.version,
            backend=self.backend,
            engine_digest=self.engine_digest,
            since_s=self.since_s,
            starts=starts,
        )


class Slots(msgspec.Struct, frozen=True, kw_only=True):
    """The content of ``slots.json``. `starts` counts starts of the daemon or the application while a trial runs; `reverted` says why the
    last trial ended without the daemon.
    """

    active: Slot | None = None
    previous: Slot | None = None
    trial: Slot | None = None
    starts: int = 0
    reverted: Reason | None = None

    @property
    def running(self) -> Slot | None:
        return self.trial or self.active


class ModelSlots:
    """The slots of one model. Every change is one write of ``slots.json`` and one rename of the link."""

    def __init__(self, state: Path, model: str) -> None:
        self._folder = state / "models" / model
        self._file = self._folder / "slots.json"

    @property
    def engines(self) -> Path:
        return self._folder / ENGINES

    def read(self) -> Slots:
        """What is in the slots; empty when the model is not here or the file is damaged (the next deployment writes it anew)."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Slots)
        except (OSError, msgspec.DecodeError):
            return Slots()

    def stage(self, built: Path, folder: str) -> Path:
        """Move a built engine folder in, complete on disk; does nothing when an earlier try has done it."""
        target = self.engines / folder
        if not target.is_dir():
            self.engines.mkdir(parents=True, exist_ok=True)
            # Applications of other users read it.
            for path in (self._folder, self.engines, built):
                path.chmod(0o755)
            sync_tree(built)
            move_durably(built, target)
        return target

    def begin_trial(self, slot: Slot) -> None:
        """Let the application run `slot`; what is active stays where it is."""
        if not (self.engines / slot.folder).is_dir():
            raise Unfit("engine-unusable", f"the engine folder {slot.folder} has gone", "Send the deployment again")
        self._change(lambda slots: Slots(active=slots.active, previous=slots.previous, trial=slot))

    def confirm(self) -> None:
        """The trial becomes active, and what was active previous."""
        self._change(lambda slots: slots if slots.trial is None else Slots(active=slots.trial, previous=slots.active))

    def abandon_trial(self, reverted: Reason | None = None) -> None:
        """Back to what is active; without an active engine the link goes."""
        self._change(lambda slots: Slots(active=slots.active, previous=slots.previous, reverted=reverted))

    def swap(self) -> None:
        """The owner's roll-back: previous becomes active.

        Raises:
            Unfit: ``no-previous``.
        """
        if self.read().previous is None:
            raise Unfit("no-previous", f"{self._folder.name} has no previous engine to go back to", "Deploy another version")
        self._change(lambda slots: Slots(active=slots.previous, previous=slots.active))

    def count_start(self, limit: int) -> bool:
        """Count a start during a trial; beyond `limit` the trial is abandoned. Returns whether it was."""
        abandoned = False

        def count(slots: Slots) -> Slots:
            nonlocal abandoned
            if slots.trial is None:
                return slots
            if slots.starts + 1 > limit:
                abandoned = True
                message = f"it was started {slots.starts + 1} times during its probation"
                reason = Reason("crash-loop", message, "Look for crashes of the application or the agent, and send another version", "unfit")
                return Slots(active=slots.active, previous=slots.previous, reverted=reason)
            return msgspec.structs.replace(slots, starts=slots.starts + 1)

        self._change(count)
        return abandoned

    def repair(self) -> None:
        """Make the link agree with ``slots.json``, after a crash between the two."""
        if self._folder.is_dir():
            self._change(lambda slots: slots)
            remove_leftovers(self._folder)

    def clean(self, keep: frozenset[str] = frozenset()) -> None:
        """Delete engine folders that no slot names."""
        slots = self.read()
        used = {slot.folder for slot in (slots.active, slots.previous, slots.trial) if slot is not None} | keep
        for path in self.engines.iterdir() if self.engines.is_dir() else ():
            if path.name not in used:
                shutil.rmtree(path, ignore_errors=True)

    def remove(self) -> None:
        """The model leaves the device: first the link, so that nobody opens what is being deleted."""
        (self._folder / CURRENT).unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _change(self, change: Callable[[Slots], Slots]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with _locked(self._folder):
            slots = change(self.read())
            write_atomic(self._file, msgspec.json.encode(slots))
            link, running = self._folder / CURRENT, slots.running
            if running is None:
                link.unlink(missing_ok=True)
            elif not link.is_symlink() or os.readlink(link) != f"{ENGINES}/{running.folder}":  # noqa: PTH115 - text, as it was written
                link_atomic(link, f"{ENGINES}/{running.folder}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def all_models(state: Path) -> list[str]:
    """The models that have a folder on this device."""
    folder = state / "models"
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
