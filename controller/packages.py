"""Packs a version of the agent: the wheels of a folder, or one, as an artifact."""

from __future__ import annotations

from pathlib import Path

from ..core.artifact import MAX_FILES, Artifact, is_file_name
from ..core.errors import Rejected
from ..core.package import SUFFIX, version_of
from .blobs import BlobStore


def is_package(path: Path) -> bool:
    """Whether `path` is meant as a version of the agent rather than as a model."""
    return path.suffix == SUFFIX or (path.is_dir() and any(path.glob(f"*{SUFFIX}")))


def pack_package(store: BlobStore, path: Path) -> tuple[Artifact, str]:
    """The artifact of the wheel `path`, or of all wheels in the folder `path`, and which of them is edgewright's own.

    Raises:
        Rejected: ``package-malformed``.
    """
    hint = "Give a wheel of edgewright, or a folder with it and the wheels that it needs anew"
    wheels = {wheel.name: wheel for wheel in ([path] if path.is_file() else sorted(path.glob(f"*{SUFFIX}")))}
    own = [name for name in wheels if version_of(name) is not None]
    if len(own) != 1:
        raise Rejected("package-malformed", f"{path} has {len(own)} wheels of edgewright", hint)
    for name in wheels:
        if not is_file_name(name):
            raise Rejected("package-malformed", f"{name} cannot be sent under that name", "Rename it to [a-z0-9._-] as PEP 427 allows")
    if len(wheels) > MAX_FILES:
        raise Rejected("package-malformed", f"{len(wheels)} wheels are too many, {MAX_FILES} are allowed", "Send those alone that have changed")
    return store.add_files(wheels), own[0]
