"""The three families of failure, by whose fault it is.

- `Rejected`: what was sent or given is wrong (a bad file, signature, option, budget). Never retried.
- `Unfit`: this device cannot do it (no runtime, no space, too little memory). Another device, or this one later, may.
- `Faulty`: our own fault or the hardware's. Always worth a report.

Every error carries a stable `code` (``family-independent-kebab-case``), a message that says what is wrong, and `next`, which says what
to do about it. The code is part of the wire and of ``--json``: it is never reworded.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

Family = Literal["rejected", "unfit", "faulty"]


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why something was refused or failed, as it crosses the wire and stands in reports and ``--json``."""

    code: str
    message: str
    next: str
    family: Family = "faulty"

    def line(self) -> str:
        """One line for a terminal."""
        return f"{self.message}. {self.next}" if self.next else self.message


class EdgewrightError(Exception):
    """The root of every error that this program raises on purpose. Raise one of its three families."""

    family: ClassVar[Family] = "faulty"

    def __init__(self, code: str, message: str, next_step: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.next_step = next_step

    @property
    def reason(self) -> Reason:
        return Reason(self.code, self.message, self.next_step, self.family)


class Rejected(EdgewrightError):  # noqa: N818 - the three families are words of the design
    """The sender's fault."""

    family: ClassVar[Family] = "rejected"


class Unfit(EdgewrightError):  # noqa: N818 - see Rejected
    """This device cannot do it."""

    family: ClassVar[Family] = "unfit"


class Faulty(EdgewrightError):  # noqa: N818 - see Rejected
    """Our fault, or the hardware's."""

    family: ClassVar[Family] = "faulty"


_FAMILIES: dict[Family, type[EdgewrightError]] = {"rejected": Rejected, "unfit": Unfit, "faulty": Faulty}


def error_from_reason(reason: Reason) -> EdgewrightError:
    """The error that a child process or another machine reported, to be raised again here."""
    return _FAMILIES[reason.family](reason.code, reason.message, reason.next)
