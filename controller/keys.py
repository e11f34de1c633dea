"""The fleet's keys and its trust anchor: TUF root and targets metadata, and the online key that signs envelopes.

Every private key is a PKCS #8 file of mode 0600 in ``keys/``. Only `desired` has to be on the serving machine; `root`, `targets` and
`engines` can be moved away once the anchor is written, and are only needed to renew it.
"""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import Rejected, Unfit
from ..core.files import write_atomic
from ..core.trust import ROLE_DESIRED, ROLE_ENGINES, ROOT_NAME, TARGETS_NAME, Sign
from ..core.wire.topics import check_name
from .paths import FleetPaths

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

ROLES = ("root", "targets", ROLE_DESIRED, ROLE_ENGINES)
ANCHOR_YEARS = 5
FLEET_NAME = "fleet"


def init_keys(paths: FleetPaths, fleet: str, now: dt.datetime) -> None:
    """Make the fleet's keys and anchor.

    Raises:
        Rejected: ``bad-name``, or ``keys-exist``: keys are never overwritten.
    """
    from securesystemslib.signer import CryptoSigner

    check_name(fleet, what="fleet")
    paths.make()
    if has_keys(paths):
        raise Rejected("keys-exist", f"{paths.root} holds keys already", "Use another --state for another fleet")
    signers = {role: CryptoSigner.generate_ed25519() for role in ROLES}
    for role, signer in signers.items():
        write_atomic(paths.keys / f"{role}.pem", signer.private_bytes, mode=0o600)
    _write_anchor(paths, signers, now)
    write_atomic(paths.trust / FLEET_NAME, fleet.encode() + b"\n")


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


def _write_anchor(paths: FleetPaths, signers: dict[str, CryptoSigner], now: dt.datetime) -> None:
    from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, Targets

    expires = now + dt.timedelta(days=365 * ANCHOR_YEARS)
    root = Root(expires=expires, consistent_snapshot=False)
    for role in ("root", "targets", "snapshot", "timestamp"):
        # The specification wants keys for all four; snapshot and timestamp have no work here and share the root key.
        root.add_key(signers.get(role, signers["root"]).public_key, role)
    online = {role: signers[role].public_key for role in (ROLE_DESIRED, ROLE_ENGINES)}
    roles = {role: DelegatedRole(name=role, keyids=[key.keyid], threshold=1, terminating=True, paths=[f"{role}/*"]) for role, key in online.items()}
    targets = Targets(expires=expires, delegations=Delegations(keys={key.keyid: key for key in online.values()}, roles=roles))
    for name, metadata, signer in (
        (ROOT_NAME, Metadata(root), signers["root"]),
        (TARGETS_NAME, Metadata(targets), signers["targets"]),
    ):
        metadata.sign(signer)
        write_atomic(paths.trust / name, metadata.to_bytes())


def load_signer(paths: FleetPaths, role: str = ROLE_DESIRED) -> Sign:
    """The signer of a role; `desired` is the online one of envelopes.

    Raises:
        Unfit: ``keys-unreadable``.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    path = paths.keys / f"{role}.pem"
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError) as error:
        message = f"the signing key {path} cannot be read: {error}"
        raise Unfit("keys-unreadable", message, "edgewright fleet keys init, or restore the key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Unfit("keys-unreadable", f"the signing key {path} is not Ed25519", "Restore the key")
    signer = CryptoSigner(key)

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
