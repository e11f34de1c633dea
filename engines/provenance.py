"""Whose engines are loaded: those built here, and, where the owner allows it, those signed by the fleet's `engines` role.

A plan file is code. So each engine folder carries ``manifest.sig``: signatures over the exact bytes of ``manifest.json``, which names every
file by digest, and the fingerprint. Rules:
- "built here" is a signature by this device's own key, ``engines.key`` in the state folder (mode 0600); applications of other users need only
  ``engines.pub`` beside it to check, and cannot forge;
- an engine from elsewhere needs the role `engines` of the trust anchor, and its fingerprint must be the one that this device computed itself;
- the check comes before any byte of the engine is given to a runtime.

Imports cryptography inside its functions: the daemon never calls them in its own process. See docs/adr/0006-engines-carry-a-seal.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..core.digest import digest_of_bytes
from ..core.errors import Rejected, Unfit
from ..core.files import disk_errors, write_atomic
from ..core.trust import ROLE_ENGINES, load_anchor, verify_role
from ..core.wire.messages import Signature

KEY_NAME = "engines.key"
PUBLIC_NAME = "engines.pub"
SEAL_NAME = "manifest.sig"
STATE_VARIABLE = "EDGEWRIGHT_STATE"
DEFAULT_STATE = Path("/var/lib/edgewright")
MAX_SEAL_BYTES = 64 << 10
DOMAIN = b"edgewright-engine-v1\0"

Sign = Callable[[bytes], Signature]
"""Signs bytes as this device, or as the role `engines`."""


class Seals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of ``manifest.sig``."""

    seals: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class Trusted:
    """Whose seals count: this device's public keys by id; `anchor` is the trust folder when signed engines are allowed, else None.

    `followed` is the file of what the agent has followed to since (`core.anchor`): who holds the role `engines` by now.
    """

    keys: Mapping[str, bytes]
    anchor: Path | None = None
    followed: Path | None = None


def identity_folder() -> Path:
    """Where this user's device key is when no agent is involved: ``$EDGEWRIGHT_STATE``, else the user's state folder."""
    if named := os.environ.get(STATE_VARIABLE):
        return Path(named)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "edgewright"


def device_signer(folder: Path) -> Sign:
    """Sign as this device; its key pair is made in `folder` when it is not there.

    Raises:
        Unfit: ``identity-unusable``.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = folder / KEY_NAME
    try:
        if not path.exists():
            _make_key(path)
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text(encoding="ascii").strip()))
        public = key.public_key().public_bytes_raw()
        if not (folder / PUBLIC_NAME).is_file():
            write_atomic(folder / PUBLIC_NAME, public.hex().encode() + b"\n", mode=0o644)
    except (OSError, ValueError) as error:
        message = f"the device's engine key {path} cannot be used: {error}"
        raise Unfit("identity-unusable", message, f"Set {STATE_VARIABLE} to a folder that you may write to") from error
    keyid = key_id(public)
    return lambda data: Signature(keyid, key.sign(DOMAIN + data).hex())


def _make_key(path: Path) -> None:
    """A new key, whole or not at all; of two processes that try, one wins and the other uses its key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    write_atomic(draft, Ed25519PrivateKey.generate().private_bytes_raw().hex().encode() + b"\n", mode=0o600)
    try:
        with disk_errors(path):
            path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)


def key_id(public: bytes) -> str:
    return digest_of_bytes(public)[:32]


def trusted_keys(*folders: Path, anchor: Path | None = None, followed: Path | None = None) -> Trusted:
    """What the public keys in `folders` vouch for; a folder without one vouches for nothing."""
    keys = {}
    for folder in folders:
        try:
            public = bytes.fromhex((folder / PUBLIC_NAME).read_text(encoding="ascii").strip())
        except (OSError, ValueError):
            continue
        keys[key_id(public)] = public
    return Trusted(keys, anchor, followed)


def trusted_by_user() -> Trusted:
    """What the command line trusts: engines of this user, and of this device's agent."""
    return trusted_keys(identity_folder(), DEFAULT_STATE)


def write_seal(folder: Path, manifest: bytes, sign: Sign) -> None:
    """Seal the manifest of `folder`; seals that it has already stay."""
    seal = sign(manifest)
    kept = tuple(entry for entry in read_seals(folder) if entry.keyid != seal.keyid)
    write_atomic(folder / SEAL_NAME, msgspec.json.encode(Seals((*kept, seal))) + b"\n")


def read_seals(folder: Path) -> tuple[Signature, ...]:
    """The seals of `folder`; none when there is no readable ``manifest.sig``."""
    path = folder / SEAL_NAME
    try:
        if path.stat().st_size > MAX_SEAL_BYTES:
            return ()
        return msgspec.json.decode(path.read_bytes(), type=Seals).seals[:16]
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()


def is_sealed_here(manifest: bytes, seals: Sequence[Signature], trusted: Trusted) -> bool:
    """Whether one of this device's own keys has sealed exactly these bytes."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    for seal in seals:
        public = trusted.keys.get(seal.keyid)
        if public is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(seal.sig), DOMAIN + manifest)
        except (InvalidSignature, ValueError):
            continue
        return True
    return False


def check_origin(folder: Path, manifest: bytes, trusted: Trusted, *, fingerprint: str, wanted: str | None, now_s: float) -> None:
    """Whether the engine with this manifest may be loaded here. `fingerprint` is what it says of itself, `wanted` what this device computed.

    Raises:
        Unfit: ``engine-untrusted``; or what `load_anchor` raises.
    """
    seals = read_seals(folder)
    if is_sealed_here(manifest, seals, trusted):
        return
    hint = "Build it here: edgewright build MODEL, or deploy the model"
    if trusted.anchor is None:
        raise Unfit("engine-untrusted", f"the engine {folder.name} was not built on this device, or was modified since", hint)
    if wanted is None or fingerprint != wanted:
        raise Unfit("engine-untrusted", f"the engine {folder.name} is signed for another fingerprint than this device's", hint)
    try:
        verify_role(load_anchor(trusted.anchor, now_s, trusted.followed), ROLE_ENGINES, DOMAIN + manifest, seals, what="engine's manifest")
    except Rejected as error:
        raise Unfit("engine-untrusted", f"the engine {folder.name} is not from here: {error.message}", hint) from error
