"""Changing the power mode with a way back: the original mode is on disk before the first change, and goes when it is back.

Whoever starts next (a sweep, ``power restore``, the boot's unit) restores what a killed process has left. nvpmodel keeps its mode over reboots, so
that without this a board would stay slow, or hot, for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ..core.errors import EdgewrightError, Unfit
from ..core.files import sync_folder, write_atomic
from .power_modes import Switch

log = logging.getLogger(__name__)

DEFAULT_JOURNAL = Path("/var/lib/edgewright/power-mode.json")


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The mode to go back to."""

    original: int


def restore_mode(journal: Path, switch: Switch) -> int | None:
    """Go back to the journaled mode, if there is one; returns it. Safe to repeat and to be killed in.

    Raises:
        Unfit: ``mode-refused``; the journal stays.
    """
    original = _read(journal)
    if original is None:
        return None
    if switch.current() != original:
        switch.change(original)
        log.warning("Restored the power mode %d that an interrupted sweep had left", original)
    journal.unlink(missing_ok=True)
    sync_folder(journal.parent)
    return original


@contextmanager
def original_mode_kept(journal: Path, switch: Switch) -> Iterator[int]:
    """Inside, modes may be changed; on every way out the original is restored. Yields it.

    Raises:
        Unfit: ``mode-unknown``, or ``mode-refused`` when the way back is barred.
    """
    restore_mode(journal, switch)
    original = switch.current()
    if original is None:
        raise Unfit("mode-unknown", "the current power mode is not known: this board has no nvpmodel", "Measure with edgewright bench instead")
    journal.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(journal, msgspec.json.encode(_Entry(original)))
    try:
        yield original
    finally:
        try:
            restore_mode(journal, switch)
        except EdgewrightError:
            log.exception("The power mode %d could not be restored; edgewright power restore tries again", original)
            raise


def _read(journal: Path) -> int | None:
    try:
        return msgspec.json.decode(journal.read_bytes(), type=_Entry).original
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"the journal of power modes {journal} cannot be read: {error}"
        raise Unfit("mode-journal-unreadable", message, "Set the mode by nvpmodel -m, then delete that file") from error
