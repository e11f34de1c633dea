"""The root helper: ``python -m edgewright.agent.helper``. Does what needs root, and nothing else: two verbs, each with one argument that is looked
up.

- ``activate NAME``: the command that ``/etc/edgewright/helper.toml``, which root owns, has for the model NAME;
- ``nvpmodel ID``: switch to a power mode that ``allow`` of its ``[nvpmodel]`` names.

systemd starts one per connection (``Accept=yes``), with the connection as its standard input; the socket's mode decides who may connect. One line in,
one line out:
``ok``, or ``refused`` with the reason. Nothing of the line becomes a command, a path or an option. ``--ask VERB ARGUMENT`` is the other end.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from ..core.errors import EdgewrightError, Rejected, Unfit
from ..core.toml import decode_toml

CONFIG = Path("/etc/edgewright/helper.toml")
SOCKET = Path("/run/edgewright-helper/socket")
NVPMODEL = "/usr/sbin/nvpmodel"
MAX_LINE_BYTES = 200
COMMAND_S = 60.0
CONNECT_S = 10.0
_NAME = re.compile(r"[a-z0-9-]{1,64}")
_MODE = re.compile(r"[0-9]{1,2}")


class _Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    activate: Annotated[tuple[str, ...], Meta(min_length=1)]


class _Modes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    allow: tuple[int, ...] = ()


class HelperFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of ``helper.toml``: which commands there are, by model, and which power modes."""

    models: dict[str, _Model] = {}
    nvpmodel: _Modes = _Modes()


def read_helper_file(path: Path, owner: int = 0) -> HelperFile:
    """Read the file, which only `owner` may be able to change.

    Raises:
        Rejected: ``config-unreadable`` or ``config-bad-value``; ``config-unsafe`` when somebody else could have written it.
    """
    fields = decode_toml(path, what="config")
    for place in (path, path.parent):
        found = place.stat()
        if found.st_uid != owner or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise Rejected("config-unsafe", f"{place} can be changed by others than its owner", f"chown root:root {place}; chmod go-w {place}")
    try:
        return msgspec.convert(fields, HelperFile)
    except msgspec.ValidationError as error:
        raise Rejected("config-bad-value", f"{path.name} does not fit: {error}", "Correct the value") from error


def command_for(line: bytes, file: HelperFile) -> list[str]:
    """The command that one line asks for.

    Raises:
        Rejected: ``helper-refused``.
    """
    verb, _, argument = line.decode("ascii", "replace").strip("\n").partition(" ")
    if verb == "activate" and _NAME.fullmatch(argument) and argument in file.models:
        return list(file.models[argument].activate)
    if verb == "nvpmodel" and _MODE.fullmatch(argument) and int(argument) in file.nvpmodel.allow:
        return [NVPMODEL, "-m", str(int(argument))]
    raise Rejected("helper-refused", "this is not among what the helper does", f"Name it in {CONFIG}")


def serve(connection: socket.socket, config: Path = CONFIG, owner: int = 0) -> bool:
    """Answer one request; whether it was carried out."""
    connection.settimeout(CONNECT_S)
    try:
        line = connection.recv(MAX_LINE_BYTES + 1)
        if len(line) > MAX_LINE_BYTES or not line.endswith(b"\n") or line.count(b"\n") != 1:
            raise Rejected("helper-refused", "one line of one verb and one argument is expected", "Use --ask")
        done = _run(command_for(line, read_helper_file(config, owner)))
    except EdgewrightError as error:
        connection.sendall(f"refused {error.reason.line()}\n".encode()[:1000])
        return False
    except OSError:
        return False
    connection.sendall(b"ok\n" if done == 0 else f"refused the command ended with {done}\n".encode())
    return done == 0


def _run(command: list[str]) -> int:
    try:
        # Its own environment: nothing of whoever asks.
        clean = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C"}
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, timeout=COMMAND_S, check=False, env=clean, cwd="/")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unfit("command-failed", f"{command[0]} did not run: {error}", "Look at the helper's log") from error
    return ended.returncode


def ask(verb: str, argument: str, address: Path = SOCKET) -> str:
    """What the helper answers.

    Raises:
        Unfit: ``helper-unreachable``.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(COMMAND_S + CONNECT_S)
            connection.connect(str(address))
            connection.sendall(f"{verb} {argument}\n".encode())
            return connection.recv(1024).decode("utf-8", "replace").strip()
    except OSError as error:
        raise Unfit("helper-unreachable", f"the helper does not answer: {error}", "systemctl status edgewright-helper.socket") from error


def main(argv: list[str] | None = None) -> int:
    """Serves its standard input, or asks; exits 0 when it was carried out."""
    parser = argparse.ArgumentParser(prog="python -m edgewright.agent.helper", description="The root helper of the agent.")
    parser.add_argument("--ask", nargs=2, metavar=("VERB", "ARGUMENT"), help="ask the helper that systemd runs")
    options = parser.parse_args(argv)
    if options.ask is None:
        with socket.socket(fileno=os.dup(0)) as connection:
            return 0 if serve(connection) else 1
    try:
        answer = ask(*options.ask)
    except EdgewrightError as error:
        print(f"edgewright: {error.reason.line()} [{error.code}]", file=sys.stderr)
        return 1
    print(answer)
    return 0 if answer == "ok" else 1


if __name__ == "__main__":
    sys.exit(main())
