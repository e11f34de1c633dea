"""A real proxy on loopback, of a few lines: HTTP's CONNECT with a password, or SOCKS 5 without one. It remembers whom it was asked for."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from types import TracebackType

WAIT_S = 20.0


class TinyProxy:
    """A context manager. `login` is ``USER:PASSWORD`` for CONNECT, empty = everybody may pass."""

    def __init__(self, kind: str = "http", login: str = "") -> None:
        self._kind, self._login = kind, login
        self.asked: list[str] = []
        self.refused = threading.Event()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> TinyProxy:  # noqa: PYI034 - Self is not in Python 3.10's typing
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()
        for sock in self._sockets:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(client)
            self._start(self._serve, client)

    def _start(self, work, *arguments) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            target = self._connect(client) if self._kind == "http" else self._socks(client)
            if target is None:
                self.refused.set()
                client.shutdown(socket.SHUT_RDWR)
                return
            self.asked.append(target)
            host, _, port = target.rpartition(":")
            server = socket.create_connection((host, int(port)), WAIT_S)
            self._sockets.append(server)
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n" if self._kind == "http" else b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
            self._start(_pipe, server, client)
            _pipe(client, server)

    def _connect(self, client: socket.socket) -> str | None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = client.recv(1)
            if not byte:
                return None
            head += byte
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        wanted = b"basic " + base64.b64encode(self._login.encode())
        if method != "CONNECT" or (self._login and wanted.lower() not in head.lower()):
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return None
        return target

    def _socks(self, client: socket.socket) -> str:
        client.recv(client.recv(2)[1])
        client.sendall(b"\x05\x00")
        kind = client.recv(4)[3]
        host = client.recv(client.recv(1)[0]).decode() if kind == 3 else socket.inet_ntoa(client.recv(4))
        return f"{host}:{int.from_bytes(client.recv(2), 'big')}"


def _pipe(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)
