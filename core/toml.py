"""Reads a TOML file that a person wrote, with a bound on its size and errors that name the file."""

from __future__ import annotations

import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from .errors import Rejected

MAX_TOML_BYTES = 256 * 1024


def decode_toml(path: Path, *, what: str) -> dict[str, object]:
    """The top-level table of `path`; `what` (``budget``, ``card``, ``config``) names it in errors and starts their codes.

    Raises:
        Rejected: ``{what}-unreadable``.
    """
    code = f"{what}-unreadable"
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TOML_BYTES + 1)
    except OSError as error:
        raise Rejected(code, f"the {what} {path} cannot be read: {error.strerror}", "Give the path of a readable TOML file") from error
    if len(data) > MAX_TOML_BYTES:
        raise Rejected(code, f"the {what} {path.name} is larger than {MAX_TOML_BYTES} bytes", f"Give a TOML file that holds a {what}")
    try:
        table: dict[str, object] = tomllib.loads(data.decode("utf-8"))
        return table
    except (ValueError, RecursionError) as error:  # ValueError is the parent of TOML's errors, and what a number of 5000 digits raises
        raise Rejected(code, f"the {what} {path.name} is not TOML: {error}", "Correct the file") from error
