"""Starts a broker of our own on loopback: Mosquitto where it is installed, else the embedded one. Both take the same users and rules."""

from __future__ import annotations

import datetime as dt
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..core.errors import Unfit
from ..core.files import write_atomic
from ..core.wire.frames import MAX_PAYLOAD_BYTES
from .access import mosquitto_acl
from .authority import CA_NAME, CRL_NAME, SERVER_CERTIFICATE, SERVER_KEY, issue_server, make_authority, write_revocations
from .leash import leashed
from .paths import FleetPaths

Kind = Literal["auto", "mosquitto", "amqtt"]

ACL_NAME = "acl"
# One transaction's worth; the default of 20 would make as many transactions of what 10,000 devices say at once.
MAX_UNACKNOWLEDGED = 500
_READY_S = 15.0
_STOP_S = 5.0
_ATTEMPTS = 3
_NO_FILE = (0, 0)


def find_mosquitto() -> str | None:
    """Mosquitto's path: Debian keeps it in /usr/sbin, which is not on everybody's PATH."""
    return shutil.which("mosquitto", path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin")))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class TlsListener:
    """Where devices on other machines connect, by certificates of the fleet's authority. `hosts` are the names that stand in the broker's own
    certificate; `bind` is the local address to listen on, empty = all.
    """

    port: int
    hosts: tuple[str, ...]
    bind: str = ""


class OwnBroker:
    """One broker process, which ends with us however we end. A context manager."""

    def __init__(self, paths: FleetPaths, fleet: str, kind: Kind = "auto", port: int = 0, tls: TlsListener | None = None) -> None:
        """Raises:
        Unfit: ``broker-tls-needs-mosquitto``.
        """
        self._paths = paths
        self._fleet = fleet
        self.kind: Literal["mosquitto", "amqtt"] = _choose(kind)
        self._wanted_port = port
        self.port = port
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None
        self._passwords_mark = self._certificates_mark = _NO_FILE
        if tls is not None and self.kind != "mosquitto":
            raise Unfit("broker-tls-needs-mosquitto", "the embedded broker speaks no TLS", "apt install mosquitto, or leave --tls-port out")

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            Unfit: ``port-in-use``, or ``broker-start-failed`` with the last line of its log.
        """
        if self._wanted_port:
            _check_port(self._wanted_port)
        for attempt in range(1, _ATTEMPTS + 1):
            self.port = self._wanted_port or free_port()
            # Looked at before the broker reads the file: at worst it is told once too often.
            self._passwords_mark, self._certificates_mark = self._mark(self._paths.passwords), self._mark(self._paths.broker / CRL_NAME)
            self._process = self._spawn(self._mosquitto() if self.kind == "mosquitto" else self._amqtt())
            if self._wait_until_ready():
                return
            self.stop()
            # Somebody may have taken the free port between our look and the broker's; a port that was asked for stays.
            if self._wanted_port or attempt == _ATTEMPTS:
                break
        message = f"the {self.kind} broker did not start on port {self.port}: {self._last_words()}"
        raise Unfit("broker-start-failed", message, "Use another --port, or give the address of a running broker with --broker")

    def refresh(self) -> None:
        """Let the broker know new passwords and revoked certificates; cheap, to be called often."""
        marks = self._mark(self._paths.passwords), self._mark(self._paths.broker / CRL_NAME)
        if marks != (self._passwords_mark, self._certificates_mark) and self._process is not None and self.kind == "mosquitto":
            self._passwords_mark, self._certificates_mark = marks
            self._process.send_signal(signal.SIGHUP)

    def has_died(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> OwnBroker:  # noqa: PYI034 - Self is not in Python 3.10's typing
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _mosquitto(self) -> list[str]:
        binary = find_mosquitto()
        assert binary is not None
        folder = self._paths.broker
        if not self._paths.passwords.exists():
            write_atomic(self._paths.passwords, b"", mode=0o600)
        write_atomic(folder / ACL_NAME, mosquitto_acl(self._fleet).encode(), mode=0o600)
        lines = [
            "per_listener_settings true",
            *self._listeners(),
            "set_tcp_nodelay true",
            "persistence false",
            f"message_size_limit {MAX_PAYLOAD_BYTES}",
            # Every device announces itself at once when the controller comes back, and what devices say waits for it, unacknowledged or not sent.
            "max_queued_messages 100000",
            f"max_inflight_messages {MAX_UNACKNOWLEDGED}",
            "persistent_client_expiration 7d",
            "log_dest stderr",
            "log_type error",
            "log_type warning",
        ]
        if os.geteuid() == 0:
            # It would give up the right to read the files above, and our hold on its life.
            lines.append("user root")
        write_atomic(folder / "mosquitto.conf", ("\n".join(lines) + "\n").encode(), mode=0o600)
        return [binary, "-c", str(folder / "mosquitto.conf")]

    def _listeners(self) -> list[str]:
        """Loopback with passwords, and, where it is wanted, the network with certificates. Each has the same rules."""
        rules = f"acl_file {self._paths.broker / ACL_NAME}"
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous false", f"password_file {self._paths.passwords}", rules]
        if self._tls is None:
            return lines
        now, folder = dt.datetime.now(dt.timezone.utc).replace(microsecond=0), self._paths.broker
        make_authority(self._paths, self._fleet, now)
        issue_server(self._paths, self._fleet, self._tls.hosts, now)
        write_revocations(self._paths, now)
        return [
            *lines,
            f"listener {self._tls.port} {self._tls.bind}".rstrip(),
            "allow_anonymous false",
            f"cafile {self._paths.trust / CA_NAME}",
            f"certfile {folder / SERVER_CERTIFICATE}",
            f"keyfile {folder / SERVER_KEY}",
            f"crlfile {folder / CRL_NAME}",
            "require_certificate true",
            "use_identity_as_username true",
            "tls_version tlsv1.2",
            rules,
        ]

    def _amqtt(self) -> list[str]:
        return [sys.executable, "-m", "edgewright.controller.embedded_broker", str(self.port), self._fleet, str(self._paths.passwords)]

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self._log.open("wb") as log:
            return subprocess.Popen(
                leashed(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONSAFEPATH": "1"},
                start_new_session=True,  # Ctrl-C is for us; we stop it when the goodbyes are said
            )

    @property
    def _log(self) -> Path:
        return self._paths.broker / "broker.log"

    def _mark(self, path: Path) -> tuple[int, int]:
        """What differs whenever the file was replaced: two writes within one tick of the kernel's clock have the same time."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return _NO_FILE
        return found.st_mtime_ns, found.st_ino

    def _wait_until_ready(self) -> bool:
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline and not self.has_died():
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.5).close()
            except OSError:
                time.sleep(0.05)
            else:
                return not self.has_died()
        return False

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def _choose(kind: Kind) -> Literal["mosquitto", "amqtt"]:
    """Which broker `kind` means here.

    Raises:
        Unfit: ``broker-absent``.
    """
    import importlib.util

    if kind in {"auto", "mosquitto"} and find_mosquitto() is not None:
        return "mosquitto"
    if kind in {"auto", "amqtt"} and importlib.util.find_spec("amqtt") is not None:
        return "amqtt"
    what = "neither mosquitto nor amqtt is" if kind == "auto" else f"{kind} is not"
    raise Unfit("broker-absent", f"{what} installed", "Install mosquitto, or pip install 'edgewright[controller]'")


def _check_port(port: int) -> None:
    """Another server there would answer in our broker's place.

    Raises:
        Unfit: ``port-in-use`` or ``broker-start-failed``.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            code = "port-in-use" if error.errno == errno.EADDRINUSE else "broker-start-failed"
            hint = "Use another --port (0 takes a free one), or give the address of the running broker with --broker"
            raise Unfit(code, f"port {port} cannot be used: {error.strerror}", hint) from error
