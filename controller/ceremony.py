"""What is done with the offline keys: rotating keys, renewing and changing the anchor, approving models. Needs no network and no database.

Every step makes the next version of root or targets metadata, signed by as many holders as the version before demands; devices follow
(`core.anchor`), as the controller sends them what is newer than their enrolment with every goal.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ..core.anchor import POLICY, ROOT_NAME, TARGETS_NAME, Policy, open_anchor
from ..core.approval import approve, countersigned, digest_of_model
from ..core.artifact import Artifact
from ..core.errors import Rejected, Unfit
from ..core.files import write_atomic
from ..core.trust import ROLE_DESIRED, ROLE_ENGINES
from ..core.wire.messages import Approval, Approved
from .keys import ANCHOR_YEARS, OFFLINE_ROLES, ROLES, crypto_signers, key_path, load_signers
from .paths import FleetPaths

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner
    from tuf.api.metadata import Metadata, Root, Targets

OLD_ROOT = "{version}.root.json"
RETIRED = ".retired"


def news(paths: FleetPaths) -> tuple[str, ...]:
    """The metadata that devices may not have yet: every root after the first, and the targets after theirs."""
    anchor = open_anchor(paths.trust)
    texts = [(paths.trust / OLD_ROOT.format(version=number)).read_text(encoding="utf-8") for number in range(2, anchor.root.signed.version + 1)]
    if anchor.targets.signed.version > 1:
        texts.append((paths.trust / TARGETS_NAME).read_text(encoding="utf-8"))
    return tuple(texts)


def rotate(paths: FleetPaths, keys: Path, role: str, now: dt.datetime) -> None:
    """New keys for `role`, as many as it has; the old ones are kept aside, and good for nothing. `keys` is where the offline keys lie.

    Raises:
        Rejected: ``role-unknown``.
        Unfit: ``keys-missing``: fewer offline keys than the threshold lie in `keys`; ``keys-unreadable``; what `open_anchor` raises.
    """
    from securesystemslib.signer import CryptoSigner

    if role not in ROLES:
        raise Rejected("role-unknown", f"there is no role {role!r}", f"Use one of {', '.join(ROLES)}")
    anchor = open_anchor(paths.trust)
    folder = keys if role in OFFLINE_ROLES else paths.keys
    count = len(anchor.root.signed.roles[role].keyids) if role in OFFLINE_ROLES else 1
    fresh = [CryptoSigner.generate_ed25519() for _ in range(count)]
    old_root, old_targets = _enough(anchor.root, keys, "root"), _enough(anchor.root, keys, "targets")
    # The keys stand before the metadata that names them: a crash in between loses none, neither the new nor, kept aside, the old.
    for number, signer in enumerate(fresh):
        path = key_path(folder, role, number)
        if path.exists():
            path.rename(path.with_name(f"{path.name}{RETIRED}-{int(now.timestamp())}"))
        write_atomic(path, signer.private_bytes, mode=0o600)
    if role in OFFLINE_ROLES:
        _next_root(paths, anchor.root, lambda root: _replace(root, role, fresh), [*old_root, *(fresh if role == "root" else ())], now)
        if role == "targets":
            _next_targets(paths, anchor.targets, lambda _targets: None, fresh, now)
    else:
        _next_targets(paths, anchor.targets, lambda targets: _delegate(targets, role, fresh), old_targets, now)


def change_policy(paths: FleetPaths, keys: Path, change: Callable[[Policy], Policy], now: dt.datetime) -> Policy:
    """Another policy in the targets metadata, signed by the offline keys; raises as `rotate`. Returns it."""
    anchor = open_anchor(paths.trust)
    policy = change(anchor.policy)

    def put(targets: Targets) -> None:
        targets.unrecognized_fields[POLICY] = msgspec.to_builtins(policy)

    _next_targets(paths, anchor.targets, put, _enough(anchor.root, keys, "targets"), now)
    return policy


def renew(paths: FleetPaths, keys: Path, now: dt.datetime) -> None:
    """Root and targets of today's date, which expire later; raises as `rotate`."""
    anchor = open_anchor(paths.trust)
    root_signers, targets_signers = _enough(anchor.root, keys, "root"), _enough(anchor.root, keys, "targets")
    _next_root(paths, anchor.root, lambda _root: None, root_signers, now)
    _next_targets(paths, anchor.targets, lambda _targets: None, targets_signers, now)


def approve_model(
    fleet: str, model: str, artifact: Artifact, model_file: str, keys: Path, now: dt.datetime, before: Approval | None = None
) -> Approval:
    """An approval by the holders whose keys lie in `keys`; of one that others have signed `before`, the same with their signatures too.

    Raises:
        Unfit: ``keys-missing``, ``keys-unreadable``.
        Rejected: ``approval-invalid``: `before` is for something else.
    """
    signers = load_signers(keys, "targets")
    if not signers:
        raise Unfit("keys-missing", f"there is no key of the role targets in {keys}", "Give the folder of the offline keys with --keys")
    digest = digest_of_model(artifact, model_file)
    if before is None:
        return approve(Approved(fleet=fleet, model=model, digest=digest, release=int(now.timestamp())), signers)
    known = msgspec.json.decode(before.signed, type=Approved)
    if (known.fleet, known.model, known.digest) != (fleet, model, digest):
        message = f"the approval is for other files, or for {known.fleet}/{known.model}"
        raise Rejected("approval-invalid", message, "Approve the very files that the first holder has approved")
    return countersigned(before, signers)


def _enough(root: Metadata[Root], keys: Path, role: str) -> list[CryptoSigner]:
    """The signers of an offline role that count, at least as many as its threshold."""
    signers = [signer for signer in crypto_signers(keys, role) if signer.public_key.keyid in root.signed.roles[role].keyids]
    threshold = root.signed.roles[role].threshold
    if len(signers) < threshold:
        message = f"{len(signers)} good keys of the role {role} lie in {keys}, {threshold} are needed"
        raise Unfit("keys-missing", message, "Give the folder of the offline keys with --keys")
    return signers


def _next_root(
    paths: FleetPaths, known: Metadata[Root], change: Callable[[Root], None], signers: Sequence[CryptoSigner], now: dt.datetime
) -> Metadata[Root]:
    metadata = _next(known, change, signers, now)
    write_atomic(paths.trust / OLD_ROOT.format(version=metadata.signed.version), metadata.to_bytes())
    write_atomic(paths.trust / ROOT_NAME, metadata.to_bytes())
    return metadata


def _next_targets(
    paths: FleetPaths, known: Metadata[Targets], change: Callable[[Targets], None], signers: Sequence[CryptoSigner], now: dt.datetime
) -> None:
    write_atomic(paths.trust / TARGETS_NAME, _next(known, change, signers, now).to_bytes())


def _next(known: Metadata[Any], change: Callable[[Any], None], signers: Sequence[CryptoSigner], now: dt.datetime) -> Metadata[Any]:
    from tuf.api.metadata import Metadata

    metadata: Metadata[Any] = Metadata.from_bytes(known.to_bytes())
    metadata.signatures.clear()
    metadata.signed.version += 1
    metadata.signed.expires = now + dt.timedelta(days=365 * ANCHOR_YEARS)
    change(metadata.signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata


def _replace(root: Root, role: str, signers: Sequence[CryptoSigner]) -> None:
    # Snapshot and timestamp share the root's keys.
    for name in ("root", "snapshot", "timestamp") if role == "root" else (role,):
        for keyid in list(root.roles[name].keyids):
            root.revoke_key(keyid, name)
        for signer in signers:
            root.add_key(signer.public_key, name)


def _delegate(targets: Targets, role: str, signers: Sequence[CryptoSigner]) -> None:
    assert role in {ROLE_DESIRED, ROLE_ENGINES}
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    for keyid in list(targets.delegations.roles[role].keyids):
        targets.revoke_key(keyid, role)
    for signer in signers:
        targets.add_key(signer.public_key, role)
