"""The broker's password file, in Mosquitto's format, which the embedded broker reads as well.

A line is ``USER:$7$ITERATIONS$SALT$HASH``: PBKDF2-HMAC-SHA-512, salt and hash in base64 (Mosquitto 2.0, ``mosquitto_passwd``).
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.files import write_atomic

ITERATIONS = 1000  # generated passwords have 192 bits: stretching them buys nothing and costs every connect
_SALT_BYTES = 12
_HASH_BYTES = 64


def new_password() -> str:
    return secrets.token_urlsafe(24)


def hash_password(password: str, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    salt = os.urandom(_SALT_BYTES) if salt is None else salt
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations, _HASH_BYTES)
    return f"$7${iterations}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def is_password(password: str, hashed: str) -> bool:
    """Whether `password` fits the hash; False for hashes of another form."""
    try:
        _, kind, iterations, salt, _ = hashed.split("$")
        expected = hash_password(password, base64.b64decode(salt), int(iterations))
    except (ValueError, OverflowError):
        return False
    return kind == "7" and hmac.compare_digest(expected.encode(), hashed.encode("utf-8", "surrogatepass"))


def read_passwords(path: Path) -> dict[str, str]:
    """Hash by user; empty when there is no file."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    return {user: hashed for user, _, hashed in (line.partition(":") for line in lines) if hashed}


def set_password(path: Path, user: str, password: str) -> None:
    """Add `user` or give it a new password; the file is replaced at once. Several processes may do so at a time."""
    set_passwords(path, {user: password})


def set_passwords(path: Path, passwords: dict[str, str]) -> None:
    """As `set_password`, for many users in one go."""
    hashed = {user: hash_password(password) for user, password in passwords.items()}
    with _locked(path):
        _write(path, read_passwords(path) | hashed)


def remove_password(path: Path, user: str) -> bool:
    """Take the user out; returns whether it was there."""
    with _locked(path):
        users = read_passwords(path)
        if user not in users:
            return False
        del users[user]
        _write(path, users)
        return True


def _write(path: Path, users: dict[str, str]) -> None:
    write_atomic(path, "".join(f"{name}:{hashed}\n" for name, hashed in sorted(users.items())).encode(), mode=0o600)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
