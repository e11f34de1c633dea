"""A real PostgreSQL server of its own for tests: a new data folder, loopback only, nothing of it survives."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from edgewright.controller.broker import free_port

START_S = "60"


def find_binaries() -> Path | None:
    """Where initdb and pg_ctl are: Debian keeps them out of the PATH."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


@contextmanager
def running_postgresql() -> Iterator[str]:
    """The URL of an empty database, for the test's session; skips where there is no PostgreSQL."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'edgewright[postgresql]'")
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    prefix: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="edgewright-postgresql-"))
    if os.geteuid() == 0:  # it refuses to run as root
        try:
            owner = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        prefix = ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups", "--"]
    data, port = folder / "data", free_port()
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off -c shared_buffers=16MB"

    def run(*command: str) -> None:
        # A file takes what it says: the server inherits it, and a pipe would never end.
        with (folder / "log").open("ab") as log:
            subprocess.run([*prefix, *command], check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, timeout=120)

    try:
        run(str(binaries / "initdb"), "-D", str(data), "-U", "edgewright", "--auth=trust", "-E", "UTF8", "--no-sync", "--locale=C")
        run(str(binaries / "pg_ctl"), "-D", str(data), "-o", options, "-w", "-t", START_S, "start")
        try:
            yield f"postgresql://edgewright@127.0.0.1:{port}/postgres"
        finally:
            run(str(binaries / "pg_ctl"), "-D", str(data), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
