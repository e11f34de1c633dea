"""Enrolls a device: a row in the database, a certificate or a password for the broker, and a folder to copy to the device.

The folder holds ``agent.toml``, ``trust/`` with the fleet's anchor, the broker's CA certificate where it has one, and what the device logs in with:
``device.pem`` and ``device.key`` (mode 0600) where the broker asks for certificates, else ``password`` (mode 0600).
"""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import msgspec

from ..core.errors import Rejected
from ..core.files import write_atomic
from ..core.wire.topics import check_name
from .access import CONTROLLER_USER
from .authority import Issued, issue_client, revoke
from .keys import copy_anchor, private_file
from .orders import Orders
from .passwords import is_password, new_password, read_passwords, remove_password, set_password
from .paths import FleetPaths

CA_NAME = "broker-ca.pem"
CERTIFICATE_NAME, KEY_NAME = "device.pem", "device.key"
BANISHED_NAME = "banished"


class Address(msgspec.Struct, frozen=True):
    """How devices reach the broker; `ca` is the file with the certificate that it is to be known by, None = no TLS. `has_certificates` says that it
    knows devices by certificates of the fleet's own authority.
    """

    host: str
    port: int
    ca: str | None = None
    has_certificates: bool = False


def enroll(paths: FleetPaths, orders: Orders, fleet: str, device: str, out: Path, address: Address, state: Path | None = None) -> None:
    """Enroll `device`. One that is enrolled already gets a new login, and what it had before is good no more: so a board is replaced.

    Raises:
        Rejected: ``bad-name``, ``out-not-empty``, ``out-unusable``, ``tls-files-unusable``.
    """
    check_name(device, what="device")
    if device == CONTROLLER_USER:
        raise Rejected("bad-name", f"{device!r} is reserved", "Use another name")
    ca = _certificate(address)
    try:
        if out.exists() and any(out.iterdir()):
            raise Rejected("out-not-empty", f"{out} is not empty", "Give --out a new or empty folder")
        out.mkdir(parents=True, exist_ok=True)
        copy_anchor(paths, out / "trust")
        login = _login(paths, fleet, device, out, address)
        if ca is not None:
            write_atomic(out / CA_NAME, ca)
        write_atomic(out / "agent.toml", _config(fleet, device, address, state, int(time.time())).encode())
    except OSError as error:
        raise Rejected("out-unusable", f"{out} cannot be written: {error.strerror}", "Give --out a folder that this user may write") from error
    # Last: a failure above leaves an enrolled device as it was.
    take_access(paths, device, orders.certificates(device))
    if isinstance(login, str):
        set_password(paths.passwords, device, login)
        orders.enroll(device, time.time())
    else:
        orders.enroll(device, time.time(), login.serial, login.expires_s, login.certificate)


def renew(paths: FleetPaths, orders: Orders, fleet: str, device: str, out: Path) -> None:
    """Write a new certificate and key for `device` to `out`; the one that it has stays good until it expires.

    Raises:
        Rejected: ``device-unknown``, ``out-not-empty``, ``out-unusable``.
        Unfit: ``authority-unreadable``.
    """
    orders.certificates(device, must_exist=True)
    try:
        if out.exists() and any(out.iterdir()):
            raise Rejected("out-not-empty", f"{out} is not empty", "Give --out a new or empty folder")
        out.mkdir(parents=True, exist_ok=True)
        issued = _certify(paths, fleet, device, out)
    except OSError as error:
        raise Rejected("out-unusable", f"{out} cannot be written: {error.strerror}", "Give --out a folder that this user may write") from error
    orders.certified(device, issued.serial, issued.expires_s, issued.certificate)


def take_access(paths: FleetPaths, device: str, serials: tuple[str, ...]) -> None:
    """What `device` logs in with is good no more, and a connection that it has is ended by the serving process."""
    had_password = remove_password(paths.passwords, device)
    for serial in serials:
        revoke(paths, serial, _now())
    if serials or had_password:
        with (paths.broker / BANISHED_NAME).open("a", encoding="ascii") as file:
            file.write(f"{device}\n")


def _login(paths: FleetPaths, fleet: str, device: str, out: Path, address: Address) -> Issued | str:
    """A certificate where the broker asks for one, else a password."""
    if address.has_certificates:
        return _certify(paths, fleet, device, out)
    password = new_password()
    private_file(out / "password", password + "\n")
    return password


def _certify(paths: FleetPaths, fleet: str, device: str, out: Path) -> Issued:
    issued = issue_client(paths, fleet, device, _now())
    write_atomic(out / CERTIFICATE_NAME, issued.certificate)
    private_file(out / KEY_NAME, issued.key.decode())
    return issued


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc).replace(microsecond=0)


def _certificate(address: Address) -> bytes | None:
    if address.ca is None:
        return None
    try:
        return Path(address.ca).read_bytes()
    except OSError as error:
        message = f"the broker's CA certificate {address.ca} cannot be read: {error.strerror}"
        raise Rejected("tls-files-unusable", message, "Put it back, or serve the fleet again with --ca") from error


def _config(fleet: str, device: str, address: Address, state: Path | None, enrolment: int) -> str:
    lines = [
        "# Paths are relative to this file. docs/agent-config.md describes every key.",
        f'fleet = "{fleet}"',
        f'device = "{device}"',
        f"enrolment = {enrolment}",
        "",
        "[broker]",
        f"host = {_quoted(address.host)}",
        f"port = {address.port}",
    ]
    if address.has_certificates:
        lines += [f'tls_certificate = "{CERTIFICATE_NAME}"', f'tls_key = "{KEY_NAME}"']
    else:
        lines += [f'username = "{device}"', 'password_file = "password"']
    if address.ca is not None:
        lines.append(f'tls_ca = "{CA_NAME}"')
    lines += ["", "[paths]", 'trust = "trust"']
    if state is not None:
        lines += [f"state = {_quoted(str(state))}", f"socket = {_quoted(str(state / 'agent.sock'))}"]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """`text` as a TOML string, which escapes as JSON does, and DEL besides."""
    return msgspec.json.encode(text).decode().replace("\x7f", "\\u007F")


def write_address(paths: FleetPaths, address: Address) -> None:
    write_atomic(paths.address, msgspec.json.encode(address))


def read_address(paths: FleetPaths) -> Address | None:
    """The broker that was served last, or None."""
    try:
        return msgspec.json.decode(paths.address.read_bytes(), type=Address)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def controller_password(paths: FleetPaths) -> str:
    """The controller's own password at its own broker; made on first use."""
    path = paths.keys / "controller.password"
    try:
        password = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        password = new_password()
        private_file(path, password)
    if not is_password(password, read_passwords(paths.passwords).get(CONTROLLER_USER, "")):
        set_password(paths.passwords, CONTROLLER_USER, password)
    return password
