"""``manifest.json``: what an engine folder holds and how it came about. It is part of the application's contract, and versioned.

A folder is only used when its manifest fits: every file by size and digest, the backend and its version. It is written last, so that a
folder without one is known to be unfinished.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..core.digest import digest_of_file
from ..core.errors import Unfit
from ..core.files import write_atomic
from ..core.measurement import Candidate

MANIFEST_NAME = "manifest.json"
CARD_NAME = "card.toml"
VERSION = 1
MAX_MANIFEST_BYTES = 1 << 20


class ManifestFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of the folder."""

    size_bytes: int
    digest: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The content of ``manifest.json``. Readers ignore fields that they do not know; a higher `version` means that they must not."""

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
    fingerprint: str
    files: dict[str, ManifestFile]
    candidate: Candidate | None = None


def list_files(folder: Path) -> dict[str, ManifestFile]:
    """Every file of `folder` but the manifest, by name."""
    return {
        path.name: ManifestFile(path.stat().st_size, digest_of_file(path))
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != MANIFEST_NAME
    }


def write_manifest(folder: Path, manifest: Manifest) -> None:
    write_atomic(folder / MANIFEST_NAME, msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of `folder`; its files are not checked.

    Raises:
        Unfit: ``engine-unusable``.
    """
    path = folder / MANIFEST_NAME
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise Unfit("engine-unusable", f"the manifest of {folder.name} is too large", "Deploy the model again")
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise Unfit("engine-unusable", f"{folder.name} has no manifest: {error.strerror}", "Deploy the model again") from error
    except msgspec.DecodeError as error:
        raise Unfit("engine-unusable", f"the manifest of {folder.name} is damaged: {error}", "Deploy the model again") from error
    if manifest.version > VERSION:
        message = f"the manifest of {folder.name} has version {manifest.version}"
        raise Unfit("engine-unusable", message, "Update edgewright in this environment")
    return manifest


def verify_manifest(folder: Path) -> Manifest:
    """The manifest, after every file was held against its size and digest.

    Raises:
        Unfit: ``engine-unusable``.
    """
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file() or path.stat().st_size != expected.size_bytes:
            raise Unfit("engine-unusable", f"{name} of {folder.name} is missing or truncated", "Deploy the model again")
        if digest_of_file(path) != expected.digest:
            raise Unfit("engine-unusable", f"{name} of {folder.name} was modified", "Deploy the model again")
    return manifest
