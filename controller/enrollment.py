"""Enrolls a device: a row in the database, a password at the broker, and a folder to copy to the device.

The folder holds ``agent.toml``, ``password`` (mode 0600) and ``trust/`` with the fleet's anchor.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from ..core.errors import Rejected
from ..core.files import write_atomic
from ..core.wire.topics import EVERYBODY, check_name
from .access import CONTROLLER_USER
from .keys import copy_anchor, private_file
from .orders import Orders
from .passwords import new_password, set_password
from .paths import FleetPaths


class Address(msgspec.Struct, frozen=True):
    """How devices reach the broker."""

    host: str
    port: int


def enroll(paths: FleetPaths, orders: Orders, fleet: str, device: str, out: Path, address: Address, state: Path | None = None) -> None:
    """Enroll `device`; a device that is enrolled already gets a new password.

    Raises:
        Rejected: ``bad-name``, ``out-not-empty``.
    """
    check_name(device, what="device")
    if device in {EVERYBODY, CONTROLLER_USER}:
        raise Rejected("bad-name", f"{device!r} is reserved", "Use another name")
    if out.exists() and any(out.iterdir()):
        raise Rejected("out-not-empty", f"{out} is not empty", "Give --out a new or empty folder")
    out.mkdir(parents=True, exist_ok=True)
    password = new_password()
    set_password(paths.passwords, device, password)
    orders.enroll(device, time.time())
    copy_anchor(paths, out / "trust")
    private_file(out / "password", password + "\n")
    write_atomic(out / "agent.toml", _config(fleet, device, address, state).encode())


def _config(fleet: str, device: str, address: Address, state: Path | None) -> str:
    lines = [
        "# Paths are relative to this file. docs/agent-config.md describes every key.",
        f'fleet = "{fleet}"',
        f'device = "{device}"',
        "",
        "[broker]",
        f'host = "{address.host}"',
        f"port = {address.port}",
        f'username = "{device}"',
        'password_file = "password"',
        "",
        "[paths]",
        'trust = "trust"',
    ]
    if state is not None:
        lines += [f'state = "{state}"', f'socket = "{state / "agent.sock"}"']
    return "\n".join(lines) + "\n"


def write_address(paths: FleetPaths, address: Address) -> None:
    write_atomic(paths.address, msgspec.json.encode(address))


def read_address(paths: FleetPaths) -> Address | None:
    """The broker that was served last, or None."""
    try:
        return msgspec.json.decode(paths.address.read_bytes(), type=Address)
    except (OSError, msgspec.DecodeError):
        return None


def controller_password(paths: FleetPaths) -> str:
    """The controller's own password at its own broker; made on first use."""
    path = paths.keys / "controller.password"
    if not path.exists():
        password = new_password()
        set_password(paths.passwords, CONTROLLER_USER, password)
        private_file(path, password)
    return path.read_text(encoding="ascii")
