"""The trust anchor of a device: TUF root and targets metadata, loaded, checked, and followed through rotations.

Rules (The Update Framework specification 1.0, §5.3 and §5.6, by python-tuf's metadata API):
- the first root is pinned: it came with the enrolment; a newer one must be signed by the keys of the one before and by its own, version by version;
- targets must be signed by the keys that the newest root names, and never go back to a lower version;
- both expire, which bounds how long somebody who holds newer ones back can do so.

``targets.json`` carries the owner's policy under `POLICY`: whether every model needs an approval of the offline keys, and the lowest release of a
model that still counts. Imports tuf inside its functions: the daemon uses this in a child process only.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from .errors import Rejected, Unfit
from .files import write_atomic
from .wire.fields import MAX_TIME_S

if TYPE_CHECKING:
    from tuf.api.metadata import Metadata, Root, Targets

ROOT_NAME = "root.json"
TARGETS_NAME = "targets.json"
FOLLOWED_NAME = "anchor.json"
MAX_METADATA_BYTES = 512 * 1024
MAX_STEPS = 64
POLICY = "x-edgewright"


class Policy(msgspec.Struct, frozen=True):
    """What the offline keys demand beside signatures; unknown fields are of a later version, and ignored."""

    approvals: bool = False
    floors: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class Anchor:
    """A verified pair. `is_news` = it is newer than what was loaded, and has to be kept."""

    root: Metadata[Root]
    targets: Metadata[Targets]
    is_news: bool = False

    @property
    def policy(self) -> Policy:
        """Raises:
        Unfit: ``trust-invalid``: signed, and yet not readable: nothing may be assumed.
        """
        try:
            return msgspec.convert(self.targets.signed.unrecognized_fields.get(POLICY, {}), Policy)
        except msgspec.ValidationError as error:
            raise Unfit("trust-invalid", f"the policy in the trust anchor does not fit: {error}", "Update the agent, or renew the anchor") from error


class _Followed(msgspec.Struct, frozen=True):
    root: str
    targets: str


def open_anchor(folder: Path, followed: Path | None = None) -> Anchor:
    """The pinned anchor, or the newer one that was followed to since and kept in `followed`; whether it has expired is not asked here.

    Raises:
        Unfit: ``trust-unreadable`` or ``trust-invalid``.
    """
    pinned = _verified(_read(folder / ROOT_NAME), _read(folder / TARGETS_NAME), folder)
    if followed is None or not followed.exists():
        return pinned
    try:
        kept = msgspec.json.decode(_limited(followed), type=_Followed)
        newer = _verified(_parsed(kept.root.encode(), folder), _parsed(kept.targets.encode(), folder), folder)
    except (msgspec.DecodeError, UnicodeDecodeError, Unfit):
        return pinned  # it will be followed again: the controller sends it with every goal
    # A device that was enrolled anew has a newer pin.
    is_newer = (newer.root.signed.version, newer.targets.signed.version) > (pinned.root.signed.version, pinned.targets.signed.version)
    return newer if is_newer else pinned


def follow(anchor: Anchor, texts: Sequence[str]) -> Anchor:
    """The anchor after newer metadata, in any order; what is known already, or older, changes nothing.

    Raises:
        Rejected: ``trust-update-invalid``.
    """
    from tuf.api.metadata import Root, Targets

    if len(texts) > MAX_STEPS:
        raise Rejected("trust-update-invalid", f"{len(texts)} pieces of trust metadata at once", "Enroll the device again: edgewright fleet enroll")
    found = [_given(text) for text in texts]
    root, targets = anchor.root, anchor.targets
    for candidate in sorted((entry for entry in found if isinstance(entry.signed, Root)), key=lambda entry: int(entry.signed.version)):
        if candidate.signed.version > root.signed.version:
            root = _next_root(root, candidate)
    for candidate in (entry for entry in found if isinstance(entry.signed, Targets)):
        if candidate.signed.version > targets.signed.version:
            targets = candidate
    if (root, targets) == (anchor.root, anchor.targets):
        return anchor
    _check(root, "targets", targets, "the new targets metadata is not signed by the keys that the root names")
    return Anchor(root, targets, is_news=True)


def check_fresh(anchor: Anchor, now_s: float, folder: Path) -> None:
    """Raises:
    Unfit: ``trust-expired``.
    """
    now = dt.datetime.fromtimestamp(min(max(now_s, 0.0), MAX_TIME_S), tz=dt.timezone.utc)
    for name, signed in (("root", anchor.root.signed), ("targets", anchor.targets.signed)):
        if signed.is_expired(now):
            message = f"the {name} metadata in {folder} expired on {signed.expires:%Y-%m-%d}"
            raise Unfit("trust-expired", message, "Check this device's clock; renew its trust folder from the controller")


def keep(anchor: Anchor, followed: Path) -> None:
    """Write a newer anchor down, both parts in one file: half of a rotation would be no anchor at all."""
    kept = _Followed(anchor.root.to_bytes().decode(), anchor.targets.to_bytes().decode())
    write_atomic(followed, msgspec.json.encode(kept))


def _next_root(known: Metadata[Root], candidate: Metadata[Any]) -> Metadata[Root]:
    if candidate.signed.version != known.signed.version + 1:
        message = f"root version {candidate.signed.version} does not follow on {known.signed.version}"
        raise Rejected("trust-update-invalid", message, "Enroll the device again: edgewright fleet enroll")
    _check(known, "root", candidate, "the new root is not signed by the keys of the one before")
    _check(candidate, "root", candidate, "the new root is not signed by its own keys")
    return candidate


def _check(delegator: Metadata[Any], role: str, candidate: Metadata[Any], message: str) -> None:
    from tuf.api.exceptions import RepositoryError

    try:
        delegator.signed.verify_delegate(role, candidate.signed_bytes, candidate.signatures)
    except (RepositoryError, ValueError) as error:
        raise Rejected("trust-update-invalid", message, "Check who sends it; the device keeps the anchor that it has") from error


def _verified(root: Metadata[Any], targets: Metadata[Any], folder: Path) -> Anchor:
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Root, Targets

    if not isinstance(root.signed, Root) or not isinstance(targets.signed, Targets):
        raise _invalid(folder, "root.json or targets.json holds another role")
    try:
        root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
        root.signed.verify_delegate("targets", targets.signed_bytes, targets.signatures)
    except (RepositoryError, ValueError) as error:
        raise _invalid(folder, str(error)) from error
    return Anchor(root, targets)


def _given(text: str) -> Metadata[Any]:
    try:
        return _parsed(text.encode(), Path())
    except Unfit as error:
        raise Rejected("trust-update-invalid", "the trust metadata that came with a message cannot be read", "Check the controller") from error


def _read(path: Path) -> Metadata[Any]:
    try:
        return _parsed(_limited(path), path.parent, path.name)
    except OSError as error:
        message = f"the trust anchor {path} cannot be read: {error.strerror}"
        raise Unfit("trust-unreadable", message, "Copy the device's trust folder from the controller: edgewright fleet enroll") from error


def _limited(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(2 * MAX_METADATA_BYTES)


def _parsed(data: bytes, folder: Path, name: str = "metadata") -> Metadata[Any]:
    from tuf.api.metadata import Metadata
    from tuf.api.serialization import DeserializationError

    if len(data) > MAX_METADATA_BYTES:
        raise _invalid(folder, f"{name} is too large")
    try:
        return Metadata.from_bytes(data)
    except (DeserializationError, ValueError) as error:
        raise _invalid(folder, f"{name}: {error}") from error


def _invalid(folder: Path, why: str) -> Unfit:
    return Unfit("trust-invalid", f"the trust anchor in {folder} is not valid: {why}", "Enroll the device again: edgewright fleet enroll")
