"""``manifest.json``: what an engine folder holds and how it came about. It is part of the application's contract, and versioned.

A folder is only used when its manifest fits: sealed by whom this device trusts (``manifest.sig``, see `provenance`), every file by size and
digest, the backend and its version. It is written last, so that a folder without one is known to be unfinished.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..core.digest import digest_of_file
from ..core.errors import Unfit
from ..core.files import write_atomic
from ..core.measurement import Candidate
from .fingerprint import EngineKey, Precision
from .provenance import SEAL_NAME, Sign, write_seal

MANIFEST_NAME = "manifest.json"
CARD_NAME = "card.toml"
VERSION = 1
MAX_MANIFEST_BYTES = 1 << 20


class ManifestFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of the folder."""

    size_bytes: int
    digest: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The content of ``manifest.json``. Readers ignore fields that they do not know; a higher `version` means that they must not.

    `key` is what `fingerprint` is the digest of.
    """

    version: int = VERSION
    model: str
    deployment: str = ""
    model_version: str = ""
    engine: str
    card: str | None
    backend: str
    backend_version: str
    provider: str
    threads: int = 1
    batch: int = 1
    precision: Precision = "fp32"
    fingerprint: str
    key: EngineKey | None = None
    files: dict[str, ManifestFile]
    candidate: Candidate | None = None


def list_files(folder: Path) -> dict[str, ManifestFile]:
    """Every file of `folder` but the manifest and its seal, by name."""
    return {
        path.name: ManifestFile(path.stat().st_size, digest_of_file(path))
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name not in {MANIFEST_NAME, SEAL_NAME}
    }


def write_manifest(folder: Path, manifest: Manifest, sign: Sign) -> None:
    """Write and seal the manifest, which makes `folder` an engine of whoever `sign` signs as."""
    data = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    write_seal(folder, data, sign)
    write_atomic(folder / MANIFEST_NAME, data)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of `folder`; neither its seal nor its files are checked.

    Raises:
        Unfit: ``engine-unusable``.
    """
    return decode_manifest(folder, manifest_bytes(folder))


def manifest_bytes(folder: Path) -> bytes:
    """What was sealed.

    Raises:
        Unfit: ``engine-unusable``.
    """
    path = folder / MANIFEST_NAME
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise Unfit("engine-unusable", f"{folder.name} has no manifest: {error.strerror}", "Deploy the model again") from error
    if len(data) > MAX_MANIFEST_BYTES:
        raise Unfit("engine-unusable", f"the manifest of {folder.name} is too large", "Deploy the model again")
    return data


def decode_manifest(folder: Path, data: bytes) -> Manifest:
    """Parse what `manifest_bytes` read.

    Raises:
        Unfit: ``engine-unusable``.
    """
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unfit("engine-unusable", f"the manifest of {folder.name} is damaged: {error}", "Deploy the model again") from error
    if manifest.version > VERSION:
        message = f"the manifest of {folder.name} has version {manifest.version}"
        raise Unfit("engine-unusable", message, "Update edgewright in this environment")
    return manifest


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Hold every file against its size and digest.

    Raises:
        Unfit: ``engine-unusable``.
    """
    if manifest.engine not in manifest.files:
        raise Unfit("engine-unusable", f"the manifest of {folder.name} does not name its engine {manifest.engine!r}", "Deploy the model again")
    for name, expected in manifest.files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file() or path.stat().st_size != expected.size_bytes:
            raise Unfit("engine-unusable", f"{name} of {folder.name} is missing or truncated", "Deploy the model again")
        if digest_of_file(path) != expected.digest:
            raise Unfit("engine-unusable", f"{name} of {folder.name} was modified", "Deploy the model again")
