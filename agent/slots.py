"""The slots of a model: active, previous, trial; and the link that the application follows.

``models/NAME/engines/FOLDER`` holds engines, ``models/NAME/slots.json`` says which is what, ``models/NAME/current`` is a symbolic link to the
one that runs. ``slots.json`` is written first, the link after it: whoever finds them different repairs the link (`repair`). The daemon and
the revert process both come here; a lock on the folder keeps them apart.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ..core.errors import Reason, Unfit
from ..core.files import disk_errors, link_atomic, make_folder, move_durably, remove_leftovers, sync_tree, unlink_durably, write_atomic
from ..core.wire.messages import SlotReport

log = logging.getLogger(__name__)

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
    trial of the engine folder `reverted_from` ended without the daemon.
    """

    active: Slot | None = None
    previous: Slot | None = None
    trial: Slot | None = None
    starts: int = 0
    reverted: Reason | None = None
    reverted_from: str = ""

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
        """What is in the slots; empty when the model is not here. Of a damaged file the link tells what runs, and that goes on.

        Raises:
            Unfit: ``slots-unreadable``: the disk does not give them out now.
        """
        return self._stored() or _by_link(self._folder)

    def _stored(self) -> Slots | None:
        """The file's content; None when there is none that can be used."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Slots)
        except FileNotFoundError:
            return None
        except OSError as error:
            message = f"the slots of {self._folder.name} cannot be read: {error.strerror}"
            raise Unfit("slots-unreadable", message, "Check the disk, and the owner of the state folder") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            log.warning("The slots of %s are damaged (%s): the link decides", self._folder.name, error)
            return None

    def stage(self, built: Path, folder: str) -> Path:
        """Move a built engine folder in, complete on disk; does nothing when an earlier try has done it.

        Raises:
            Unfit: ``engine-lost`` when there is neither; ``disk-full``.
        """
        target = self.engines / folder
        if target.is_dir():
            return target
        if not built.is_dir():
            raise Unfit("engine-lost", "the built engine has gone from the disk", "Send the deployment again")
        make_folder(self.engines)
        with disk_errors(target):
            # Applications of other users read it.
            for path in (self._folder, self.engines, built):
                path.chmod(0o755)
            for path in built.iterdir():
                path.chmod(0o644 if path.is_file() else 0o755)
        sync_tree(built)
        move_durably(built, target)
        return target

    def begin_trial(self, slot: Slot) -> None:
        """Let the application run `slot`; what is active stays where it is. Does nothing when it runs on trial already.

        Raises:
            Unfit: ``engine-unusable``.
        """
        if not (self.engines / slot.folder).is_dir():
            raise Unfit("engine-unusable", f"the engine folder {slot.folder} has gone", "Send the deployment again")

        def begin(slots: Slots) -> Slots:
            if slots.trial is not None and slots.trial.folder == slot.folder:
                return slots
            return Slots(active=slots.active, previous=slots.previous, trial=slot)

        self._change(begin)

    def confirm(self, folder: str) -> bool:
        """The engine `folder` on trial becomes active, and what was active previous. Returns whether it is active then: somebody may have taken
        it out meanwhile.
        """

        def settle(slots: Slots) -> Slots:
            if slots.trial is None or slots.trial.folder != folder:
                return slots
            return Slots(active=slots.trial, previous=slots.active)

        slots = self._change(settle)
        return slots.trial is None and slots.active is not None and slots.active.folder == folder

    def take_out(self, folder: str) -> None:
        """The engine `folder` is not to run: back to what was active before it, without an active engine the link goes.

        It may be active already: a crash can come between its confirmation here and in the journal.
        """

        def back(slots: Slots) -> Slots:
            if slots.trial is None and slots.active is not None and slots.active.folder == folder:
                return Slots(active=slots.previous)
            return Slots(active=slots.active, previous=slots.previous)

        self._change(back)

    def fall_back(self, folder: str) -> None:
        """The owner's roll-back: `previous` becomes active, and `folder`, which was, previous. Does nothing when `folder` is not active.

        Raises:
            Unfit: ``no-previous``.
        """

        def swap(slots: Slots) -> Slots:
            if slots.active is None or slots.active.folder != folder:
                return slots
            if slots.previous is None or not (self.engines / slots.previous.folder).is_dir():
                raise Unfit("no-previous", f"{self._folder.name} has no previous engine to go back to", "Deploy another version")
            return Slots(active=slots.previous, previous=slots.active)

        self._change(swap)

    def count_start(self, limit: int) -> bool:
        """Count a start during a trial; beyond `limit` the trial is taken out. Returns whether it was."""
        is_taken_out = False

        def count(slots: Slots) -> Slots:
            nonlocal is_taken_out
            if slots.trial is None:
                return slots
            if slots.starts < limit:
                return msgspec.structs.replace(slots, starts=slots.starts + 1)
            is_taken_out = True
            message = f"it was started {slots.starts + 1} times during its probation"
            reason = Reason("crash-loop", message, "Look for crashes of the application or the agent, and send another version", "unfit")
            return Slots(active=slots.active, previous=slots.previous, reverted=reason, reverted_from=slots.trial.folder)

        self._change(count)
        return is_taken_out

    def repair(self) -> None:
        """Make the link agree with ``slots.json``, after a crash between the two."""
        if self._folder.is_dir():
            self._change(lambda slots: slots)
            remove_leftovers(self._folder)

    def clean(self, keep: frozenset[str] = frozenset()) -> None:
        """Delete engine folders that no slot names and that are not in `keep`."""
        slots = self.read()
        used = {slot.folder for slot in (slots.active, slots.previous, slots.trial) if slot is not None} | keep
        for path in self.engines.iterdir() if self.engines.is_dir() else ():
            if path.name not in used:
                shutil.rmtree(path, ignore_errors=True)

    def remove(self, keep: str = "") -> None:
        """The model leaves the device: first the link, so that nobody opens what is being deleted. The engine folder `keep` stays where it is."""
        unlink_durably(self._folder / CURRENT)
        if not keep or not (self.engines / keep).is_dir():
            shutil.rmtree(self._folder, ignore_errors=True)
            return
        self._file.unlink(missing_ok=True)
        self.clean(frozenset({keep}))

    def _change(self, change: Callable[[Slots], Slots]) -> Slots:
        """Returns what is in the slots now; a change that changes nothing writes nothing, so that a full disk is no obstacle to it."""
        make_folder(self._folder)
        with _locked(self._folder):
            stored = self._stored()
            slots = change(stored or _by_link(self._folder))
            if slots != stored and (slots != Slots() or self._file.exists()):
                write_atomic(self._file, msgspec.json.encode(slots))
            link, running = self._folder / CURRENT, slots.running
            if running is None:
                unlink_durably(link)
            elif not link.is_symlink() or os.readlink(link) != f"{ENGINES}/{running.folder}":  # noqa: PTH115 - text, as it was written
                link_atomic(link, f"{ENGINES}/{running.folder}")
            return slots


def _by_link(folder: Path) -> Slots:
    """What the link and the manifest behind it say is active; empty when they say nothing."""
    from ..core.errors import EdgewrightError
    from ..engines.manifest import read_manifest

    try:
        target = (folder / CURRENT).resolve(strict=True)
        manifest = read_manifest(target)
        if target.parent != (folder / ENGINES).resolve():
            return Slots()
        return Slots(
            active=Slot(
                folder=target.name,
                deployment=manifest.deployment,
                version=manifest.model_version,
                backend=manifest.backend,
                engine_digest=manifest.files[manifest.engine].digest,
                since_s=target.stat().st_mtime,
            )
        )
    except (OSError, EdgewrightError, KeyError):
        return Slots()


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
