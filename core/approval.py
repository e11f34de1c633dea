"""The approval of a model by the offline `targets` keys: without it, a stolen controller could send a model of its own.

An approval names the fleet, the model and the exact files. It does not expire, as what it approved runs on; what shall not be installed any more is
below the floor that newer targets metadata sets (`anchor.Policy`). Budgets, recipes and datasets are the controller's to choose: they cannot
bring code or weights of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from .anchor import Anchor
from .artifact import Artifact
from .digest import digest_of_bytes
from .errors import Rejected
from .wire.messages import Approval, Approved, Desired, Order, Signature

if TYPE_CHECKING:
    from .trust import Sign

DOMAIN = b"edgewright-approval-v1\0"


def digest_of_model(artifact: Artifact, model_file: str) -> str:
    """The digest that an approval names: of the files' names, sizes and digests, and of which one is the model."""
    files = [[name, blob.size_bytes, blob.digest] for name, blob in sorted(artifact.files.items())]
    return digest_of_bytes(msgspec.json.encode([model_file, files]))


def approve(approved: Approved, signers: Sequence[Sign]) -> Approval:
    """The approval, signed by each of `signers`."""
    text = msgspec.json.encode(approved).decode()
    signatures = tuple(Signature(*sign(DOMAIN + text.encode())) for sign in signers)
    return Approval(signed=text, signatures=signatures)


def countersigned(approval: Approval, signers: Sequence[Sign]) -> Approval:
    """The same approval with more signatures, of other holders of the role."""
    known = {signature.keyid for signature in approval.signatures}
    new = [Signature(*sign(DOMAIN + approval.signed.encode())) for sign in signers]
    return msgspec.structs.replace(approval, signatures=(*approval.signatures, *(entry for entry in new if entry.keyid not in known)))


def check_approvals(anchor: Anchor, desired: Desired) -> None:
    """Every model of the goal has its approval, where the offline keys demand one.

    Raises:
        Rejected: ``approval-missing``, ``approval-invalid``, ``approval-withdrawn``.
        Unfit: ``trust-invalid``.
    """
    policy = anchor.policy
    for model, order in desired.models.items():
        if policy.approvals or order.kind == "agent":  # a version of the agent is code, which no controller sends of its own
            check_approval(anchor, desired.fleet, model, order)


def check_approval(anchor: Anchor, fleet: str, model: str, order: Order) -> None:
    """The approval of one order; raises as `check_approvals`."""
    hint = "Let the holders of the targets keys approve it: edgewright fleet keys approve"
    if order.approval is None:
        raise Rejected("approval-missing", f"the model {model!r} has no approval of the offline keys", hint)
    _check_signatures(anchor, model, order.approval, hint)
    try:
        approved = msgspec.json.decode(order.approval.signed, type=Approved)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Rejected("approval-invalid", f"the approval of {model!r} does not fit: {error}", hint) from error
    if (approved.fleet, approved.model) != (fleet, model):
        raise Rejected("approval-invalid", f"the approval is for {approved.fleet}/{approved.model}, not for {fleet}/{model}", hint)
    if approved.digest != digest_of_model(order.model, order.model_file):
        raise Rejected("approval-invalid", f"the approval of {model!r} is for other files", hint)
    floor = anchor.policy.floors.get(model, 0)
    if approved.release < floor:
        message = f"release {approved.release} of {model!r} was withdrawn: {floor} is the lowest that counts"
        raise Rejected("approval-withdrawn", message, "Deploy a newer release")


def _check_signatures(anchor: Anchor, model: str, approval: Approval, hint: str) -> None:
    from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
    from securesystemslib.signer import Signature as KeySignature

    root = anchor.root.signed
    role, data, good = root.roles["targets"], DOMAIN + approval.signed.encode(), set()
    for signature in approval.signatures[:16]:
        if signature.keyid not in role.keyids or signature.keyid not in root.keys:
            continue
        try:
            root.keys[signature.keyid].verify_signature(KeySignature(signature.keyid, signature.sig), data)
        except (UnverifiedSignatureError, VerificationError, ValueError):
            continue
        good.add(signature.keyid)
    if len(good) < role.threshold:
        raise Rejected("approval-invalid", f"the approval of {model!r} has {len(good)} good signatures of {role.threshold}", hint)
