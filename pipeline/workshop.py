"""Where engines are made: who signs them here, whose are taken, and what is kept from earlier runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..core.anchor import FOLLOWED_NAME
from ..engines.provenance import Sign, Trusted, device_signer, identity_folder, trusted_keys
from .cache import StageCache


@dataclass(frozen=True, slots=True)
class Workshop:
    """What every build needs; `cache` None = everything is made anew."""

    sign: Sign
    trusted: Trusted
    cache: StageCache | None = None


def open_workshop(identity: Path | None = None, cache: Path | None = None, anchor: Path | None = None) -> Workshop:
    """The workshop of a device.

    Args:
        identity: Folder of the device's key; None = this user's.
        cache: Where earlier results are; None = none are kept.
        anchor: The trust folder, when engines that the role `engines` has signed are taken too.

    Raises:
        Unfit: ``identity-unusable`` or ``cache-unusable``.
    """
    from ..core.errors import Unfit

    folder = identity or identity_folder()
    sign = device_signer(folder)
    if cache is not None:
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unfit("cache-unusable", f"the cache {cache} cannot be used: {error.strerror}", "Give another folder, or --no-cache") from error
    return Workshop(sign, trusted_keys(folder, anchor=anchor, followed=folder / FOLLOWED_NAME), None if cache is None else StageCache(cache))


def user_cache() -> Path:
    """Where the command line keeps earlier results: ``$XDG_CACHE_HOME/edgewright``, or ``~/.cache/edgewright``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edgewright"
