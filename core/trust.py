"""Who may tell a device what to do: one anchor (TUF root metadata), and Ed25519 envelopes under a role that it delegates to.

``root.json`` is pinned on the device. It names the offline `targets` keys; ``targets.json``, signed by them, delegates to the online role
`desired` (envelopes of the kinds ``desired`` and ``command``) and to `engines`. Thresholds, expiry and key handling are python-tuf's
(The Update Framework specification 1.0, metadata API).

An envelope's signature covers `DOMAIN`, the kind and the exact text; the text names fleet, device, sequence and expiry, all checked here.
Imports tuf and cryptography inside its functions: the daemon calls this in a child process only.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from .errors import Rejected, Unfit
from .wire.fields import MAX_TIME_S
from .wire.messages import Command, Desired, Envelope, check_desired, decode
from .wire.messages import Signature as WireSignature

if TYPE_CHECKING:
    from tuf.api.metadata import Metadata, Targets

DOMAIN = b"edgewright-envelope-v1\0"
ROLE_DESIRED = "desired"
ROLE_ENGINES = "engines"
ROOT_NAME = "root.json"
TARGETS_NAME = "targets.json"
MAX_METADATA_BYTES = 512 * 1024


class VerifyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One received envelope and what it is held against. `now_s` is the device's best idea of the time, `last_sequence` the last accepted."""

    trust: str
    envelope: bytes
    fleet: str
    device: str
    last_sequence: int
    now_s: float


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a good envelope: exactly one of both. `signed_s` is the latest time that a valid signature vouches for."""

    desired: Desired | None = None
    command: Command | None = None
    signed_s: float = 0.0


def signed_bytes(kind: str, text: str) -> bytes:
    """What an envelope's signature covers."""
    return DOMAIN + kind.encode() + b"\0" + text.encode()


def verify_envelope(request: VerifyRequest) -> Verified:
    """The content of the envelope, after every check.

    Raises:
        Rejected: ``message-…``, ``signature-invalid``, ``envelope-wrong-device``, ``envelope-from-future``, ``envelope-expired``,
            ``envelope-replayed``, and what `check_desired` raises.
        Unfit: ``trust-unreadable``, ``trust-invalid`` or ``trust-expired``: this device's own anchor is at fault.
    """
    envelope = decode(request.envelope, Envelope)
    targets = load_anchor(Path(request.trust), request.now_s)
    _check_signatures(envelope, targets)
    content: Desired | Command
    content = decode(envelope.signed, Desired) if envelope.kind == "desired" else decode(envelope.signed, Command)
    if (content.fleet, content.device) != (request.fleet, request.device):
        message = f"the message is signed for {content.fleet}/{content.device}, this is {request.fleet}/{request.device}"
        raise Rejected("envelope-wrong-device", message, "Check the broker's access rules and the controller")
    if content.issued_s > targets.expires.timestamp():
        # The device takes signed times for its clock: a wrong one must not outlive the anchor.
        message = f"the {envelope.kind} message is from a time when the trust anchor will have expired"
        raise Rejected("envelope-from-future", message, "Check the controller's clock")
    if content.expires_s < request.now_s:
        age_s = request.now_s - content.expires_s
        raise Rejected("envelope-expired", f"the {envelope.kind} message expired {age_s:.0f} s ago", "Let the controller sign a new one")
    if content.sequence <= request.last_sequence:
        message = f"the {envelope.kind} message has sequence {content.sequence}, and {request.last_sequence} was accepted already"
        raise Rejected("envelope-replayed", message, "Old messages are ignored; check who replays them")
    if isinstance(content, Desired):
        return Verified(desired=check_desired(content), signed_s=content.issued_s)
    return Verified(command=content, signed_s=content.issued_s)


def load_anchor(folder: Path, now_s: float) -> Targets:
    """The verified ``targets`` metadata under the pinned root.

    Raises:
        Unfit: ``trust-unreadable``, ``trust-invalid`` or ``trust-expired``.
    """
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Root, Targets

    root = _read_metadata(folder / ROOT_NAME)
    targets = _read_metadata(folder / TARGETS_NAME)
    if not isinstance(root.signed, Root) or not isinstance(targets.signed, Targets):
        raise _invalid(folder, "root.json or targets.json holds another role")
    now = dt.datetime.fromtimestamp(min(max(now_s, 0.0), MAX_TIME_S), tz=dt.timezone.utc)
    try:
        root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
        root.signed.verify_delegate("targets", targets.signed_bytes, targets.signatures)
    except (RepositoryError, ValueError) as error:
        raise _invalid(folder, str(error)) from error
    for name, signed in (("root", root.signed), ("targets", targets.signed)):
        if signed.is_expired(now):
            message = f"the {name} metadata in {folder} expired on {signed.expires:%Y-%m-%d}"
            raise Unfit("trust-expired", message, "Check this device's clock; renew its trust folder from the controller")
    return targets.signed


def _read_metadata(path: Path) -> Metadata[Any]:
    from tuf.api.metadata import Metadata
    from tuf.api.serialization import DeserializationError

    try:
        with path.open("rb") as file:
            data = file.read(MAX_METADATA_BYTES + 1)
        if len(data) > MAX_METADATA_BYTES:
            raise _invalid(path.parent, f"{path.name} is too large")
        return Metadata.from_bytes(data)
    except OSError as error:
        message = f"the trust anchor {path} cannot be read: {error.strerror}"
        raise Unfit("trust-unreadable", message, "Copy the device's trust folder from the controller: edgewright fleet enroll") from error
    except (DeserializationError, ValueError) as error:
        raise _invalid(path.parent, f"{path.name}: {error}") from error


def _invalid(folder: Path, why: str) -> Unfit:
    return Unfit("trust-invalid", f"the trust anchor in {folder} is not valid: {why}", "Enroll the device again: edgewright fleet enroll")


def _check_signatures(envelope: Envelope, targets: Targets) -> None:
    verify_role(targets, ROLE_DESIRED, signed_bytes(envelope.kind, envelope.signed), envelope.signatures, what=f"{envelope.kind} message")


def verify_role(targets: Targets, role_name: str, data: bytes, signatures: Sequence[WireSignature], *, what: str) -> None:
    """A threshold of different keys of the delegated role must have signed `data`.

    Raises:
        Unfit: ``trust-invalid``: the anchor delegates to nobody under that name.
        Rejected: ``signature-invalid``.
    """
    from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
    from securesystemslib.signer import Signature

    delegations = targets.delegations
    role = (delegations.roles or {}).get(role_name) if delegations is not None else None
    if delegations is None or role is None:
        message = f"the trust anchor delegates to nobody as {role_name!r}"
        raise Unfit("trust-invalid", message, "Enroll the device again: edgewright fleet enroll")
    good: set[str] = set()
    for signature in signatures[:16]:
        key = delegations.keys.get(signature.keyid)
        if key is None or signature.keyid not in role.keyids:
            continue
        try:
            key.verify_signature(Signature(signature.keyid, signature.sig), data)
        except (UnverifiedSignatureError, VerificationError, ValueError):
            continue
        good.add(signature.keyid)
    if len(good) < role.threshold:
        message = f"the {what} has {len(good)} good signatures of {role.threshold}"
        raise Rejected("signature-invalid", message, "Check that it comes from this fleet's controller, and the device's trust folder")


Sign = Callable[[bytes], tuple[str, str]]
"""Signs bytes; returns the key's id and the signature in hex."""


def seal(content: Desired | Command, sign: Sign) -> Envelope:
    """The signed envelope of `content`."""
    kind = "desired" if isinstance(content, Desired) else "command"
    text = msgspec.json.encode(content).decode()
    keyid, signature = sign(signed_bytes(kind, text))
    return Envelope(kind="desired" if kind == "desired" else "command", signed=text, signatures=(WireSignature(keyid, signature),))
