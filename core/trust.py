"""Who may tell a device what to do: one anchor (TUF root metadata), and Ed25519 envelopes under a role that it delegates to.

``root.json`` is pinned on the device (`anchor`). It names the offline `targets` keys, which approve models (`approval`); ``targets.json``, signed
by them, delegates to the online role `desired` (envelopes of the kinds ``desired`` and ``command``) and to `engines`. Thresholds, expiry and key
handling are python-tuf's (The Update Framework specification 1.0, metadata API).

An envelope's signature covers `DOMAIN`, the kind and the exact text; the text names fleet, device, sequence and expiry, all checked here.
Imports tuf and cryptography inside its functions: the daemon calls this in a child process only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from .anchor import check_fresh, follow, keep, open_anchor
from .approval import check_approvals
from .errors import Rejected, Unfit
from .wire.messages import Command, Desired, Envelope, check_desired, decode
from .wire.messages import Signature as WireSignature

if TYPE_CHECKING:
    from tuf.api.metadata import Targets

DOMAIN = b"edgewright-envelope-v1\0"
ROLE_DESIRED = "desired"
ROLE_ENGINES = "engines"


class VerifyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One received envelope and what it is held against. `now_s` is the device's best idea of the time, `last_sequence` the last accepted.

    `trust` is the folder of the pinned anchor; `followed` the file of what was followed to since, where newer metadata is kept; empty = nowhere.
    """

    trust: str
    envelope: bytes
    fleet: str
    device: str
    last_sequence: int
    now_s: float
    followed: str = ""


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
    envelope, folder = decode(request.envelope, Envelope), Path(request.trust)
    followed = Path(request.followed) if request.followed else None
    anchor = follow(open_anchor(folder, followed), envelope.metadata)
    check_fresh(anchor, request.now_s, folder)
    if anchor.is_news and followed is not None:
        # Signed by the offline keys whatever the rest of the message is worth: kept at once, so that it cannot be held back again.
        keep(anchor, followed)
    targets = anchor.targets.signed
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
        check_approvals(anchor, content)
        return Verified(desired=check_desired(content), signed_s=content.issued_s)
    return Verified(command=content, signed_s=content.issued_s)


def load_anchor(folder: Path, now_s: float, followed: Path | None = None) -> Targets:
    """The verified ``targets`` metadata under the pinned root, or under the one that was followed to since.

    Raises:
        Unfit: ``trust-unreadable``, ``trust-invalid`` or ``trust-expired``.
    """
    anchor = open_anchor(folder, followed)
    check_fresh(anchor, now_s, folder)
    return anchor.targets.signed


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


def seal(content: Desired | Command, sign: Sign, metadata: Sequence[str] = ()) -> Envelope:
    """The signed envelope of `content`, with newer trust `metadata` beside it."""
    kind = "desired" if isinstance(content, Desired) else "command"
    text = msgspec.json.encode(content).decode()
    keyid, signature = sign(signed_bytes(kind, text))
    return Envelope(
        kind="desired" if kind == "desired" else "command", signed=text, signatures=(WireSignature(keyid, signature),), metadata=tuple(metadata)
    )
