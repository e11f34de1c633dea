"""The fleet's keys and its trust anchor: TUF root and targets metadata, and the online key that signs envelopes.

Every private key is a PKCS #8 file of mode 0600 in ``keys/``. Only `desired` has to be on the serving machine; `root`, `targets` and
`engines` can be moved away once the anchor is written, and are only needed to renew it.
"""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.anchor import POLICY, ROOT_NAME, TARGETS_NAME
from ..core.errors import Rejected, Unfit
from ..core.files import write_atomic
from ..core.trust import ROLE_DESIRED, ROLE_ENGINES, Sign
from ..core.wire.topics import check_name
from .paths import FleetPaths

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

ROLES = ("root", "targets", ROLE_DESIRED, ROLE_ENGINES)
OFFLINE_ROLES = frozenset({"root", "targets"})
MAX_HOLDERS = 9
ANCHOR_YEARS = 5
FLEET_NAME = "fleet"


@dataclass(frozen=True, slots=True)
class Offline:
    """Who holds the offline keys: `threshold` of `holders` have to sign. With `approvals` no device takes a model that they have not approved."""

    holders: int = 1
    threshold: int = 1
    approvals: bool = False


ONE_HOLDER = Offline()


def init_keys(paths: FleetPaths, fleet: str, now: dt.datetime, offline: Offline = ONE_HOLDER) -> None:
    """Make the fleet's keys and anchor.

    Raises:
        Rejected: ``bad-name``, ``threshold-wrong``, or ``keys-exist``: keys are never overwritten.
    """
    from securesystemslib.signer import CryptoSigner

    check_name(fleet, what="fleet")
    if not 1 <= offline.threshold <= offline.holders <= MAX_HOLDERS:
        message = f"{offline.threshold} of {offline.holders} holders cannot be asked for"
        raise Rejected("threshold-wrong", message, f"Use 1 to {MAX_HOLDERS} holders, and a threshold of no more than that")
    paths.make()
    if has_keys(paths):
        raise Rejected("keys-exist", f"{paths.root} holds keys already", "Use another --state for another fleet")
    counts = {role: offline.holders if role in OFFLINE_ROLES else 1 for role in ROLES}
    signers = {role: [CryptoSigner.generate_ed25519() for _ in range(count)] for role, count in counts.items()}
    for role, keys in signers.items():
        for number, signer in enumerate(keys):
            write_atomic(key_path(paths.keys, role, number), signer.private_bytes, mode=0o600)
    _write_anchor(paths, signers, offline, now)
    write_atomic(paths.trust / FLEET_NAME, fleet.encode() + b"\n")


def key_path(folder: Path, role: str, number: int = 0) -> Path:
    """The file of a role's first key, or of one of its other holders'."""
    return folder / (f"{role}-{number + 1}.pem" if number else f"{role}.pem")


def has_keys(paths: FleetPaths) -> bool:
    """Whether there is anything of a fleet: the offline keys may have been moved away, and an attempt may have been cut short."""
    return any(paths.keys.glob("*.pem")) or (paths.trust / ROOT_NAME).exists()


def fleet_name(paths: FleetPaths) -> str:
    """The name of the fleet that this state folder belongs to.

    Raises:
        Unfit: ``fleet-absent``.
    """
    try:
        return check_name((paths.trust / FLEET_NAME).read_text(encoding="ascii").strip(), what="fleet")
    except OSError as error:
        message = f"{paths.root} holds no fleet: {error.strerror}"
        raise Unfit("fleet-absent", message, "edgewright fleet keys init --state DIR, or give --state") from error


def _write_anchor(paths: FleetPaths, signers: dict[str, list[CryptoSigner]], offline: Offline, now: dt.datetime) -> None:
    from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, Targets

    expires = now + dt.timedelta(days=365 * ANCHOR_YEARS)
    root = Root(expires=expires, consistent_snapshot=False)
    for role in ("root", "targets", "snapshot", "timestamp"):
        # The specification wants keys for all four. The work of snapshot and timestamp is done by each goal's own sequence and expiry, which are the
        # online role's: they share the root keys.
        for signer in signers.get(role, signers["root"]):
            root.add_key(signer.public_key, role)
        root.roles[role].threshold = offline.threshold
    online = {role: signers[role][0].public_key for role in (ROLE_DESIRED, ROLE_ENGINES)}
    roles = {role: DelegatedRole(name=role, keyids=[key.keyid], threshold=1, terminating=True, paths=[f"{role}/*"]) for role, key in online.items()}
    targets = Targets(expires=expires, delegations=Delegations(keys={key.keyid: key for key in online.values()}, roles=roles))
    targets.unrecognized_fields[POLICY] = {"approvals": offline.approvals, "floors": {}}
    for name, metadata, keys in (
        (ROOT_NAME, Metadata(root), signers["root"]),
        (TARGETS_NAME, Metadata(targets), signers["targets"]),
    ):
        for signer in keys:
            metadata.sign(signer, append=True)
        write_atomic(paths.trust / name, metadata.to_bytes())


def crypto_signers(folder: Path, role: str) -> list[CryptoSigner]:
    """The signers of a role whose keys lie in `folder`, in the order of their files; none when there are none.

    Raises:
        Unfit: ``keys-unreadable``.
    """
    first = [key_path(folder, role)] if key_path(folder, role).exists() else []
    return [_crypto_signer(path) for path in [*first, *sorted(folder.glob(f"{role}-[0-9]*.pem"))]]


def load_signers(folder: Path, role: str) -> list[Sign]:
    """As `crypto_signers`, for what is no TUF metadata: approvals."""
    return [_sign_with(signer) for signer in crypto_signers(folder, role)]


def load_signer(paths: FleetPaths, role: str = ROLE_DESIRED) -> Sign:
    """The signer of a role; `desired` is the online one of envelopes.

    Raises:
        Unfit: ``keys-unreadable``.
    """
    return _sign_with(_crypto_signer(key_path(paths.keys, role)))


def _crypto_signer(path: Path) -> CryptoSigner:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError) as error:
        message = f"the signing key {path} cannot be read: {error}"
        raise Unfit("keys-unreadable", message, "edgewright fleet keys init, or restore the key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Unfit("keys-unreadable", f"the signing key {path} is not Ed25519", "Restore the key")
    return CryptoSigner(key)


def _sign_with(signer: CryptoSigner) -> Sign:
    def sign(data: bytes) -> tuple[str, str]:
        signature = signer.sign(data)
        return signature.keyid, signature.signature

    return sign


def copy_anchor(paths: FleetPaths, folder: Path) -> None:
    """Give a device its copy of the anchor."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (ROOT_NAME, TARGETS_NAME):
        write_atomic(folder / name, (paths.trust / name).read_bytes(), mode=0o644)


def private_file(path: Path, text: str) -> None:
    """Write a secret that only its owner may read."""
    write_atomic(path, text.encode(), mode=0o600)
    os.chmod(path, 0o600)  # noqa: PTH101 - the mode must hold although the umask may be wider or the file old
