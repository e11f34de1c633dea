"""What the parts of ``fleet.py`` share: the controller as a process, an order that no light device builds, and waiting."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from edgewright.controller.paths import FleetPaths
from edgewright.core.artifact import Artifact, describe_bytes
from edgewright.core.budget import Budget
from edgewright.core.wire.messages import Order
from rig import stop


class Controller:
    """``fleet serve`` as a process of its own, on a broker that is not its own: it can be killed and started again."""

    def __init__(self, paths: FleetPaths, port: int, password: str, log: Path, before: str = "") -> None:
        """`before` is a line of Python that runs first."""
        url = f"mqtt://controller:{password}@127.0.0.1:{port}"
        program = ["-Ic", f"{before}\nfrom edgewright.cli.main import main\nmain()"] if before else ["-Im", "edgewright.cli.main"]
        self._command = [sys.executable, *program, "fleet", "serve", "--state", str(paths.root), "--json"]
        self._environment = os.environ | {"EDGEWRIGHT_BROKER": url}
        self._log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.peak_mb = 0.0

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=self._environment)
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            raise SystemExit(f"the controller did not start: {self._log.read_text()[-500:]}")

    def look(self) -> float:
        """Its resident memory now, in 10⁶ bytes; the peak is remembered."""
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmRSS", "VmHWM"))}
        self.peak_mb = max(self.peak_mb, kib["VmHWM"] * 1024 / 1e6)
        return kib["VmRSS"] * 1024 / 1e6

    def sent_bytes(self) -> int:
        """What its TCP connections have carried out so far, by the kernel's count (``ss``)."""
        assert self.process is not None
        told = subprocess.run(["ss", "-tinpH"], check=True, capture_output=True, text=True).stdout
        mine = re.findall(rf"pid={self.process.pid},[^\n]*\n([^\n]*)", told)
        return sum(int(count) for line in mine for count in re.findall(r"bytes_acked:(\d+)", line))

    def kill(self) -> None:
        assert self.process is not None
        self.look()
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.look()
            stop(self.process)


def order_of(deployment: str, content: bytes = b"model") -> Order:
    blob, _ = describe_bytes(content)
    return Order(
        deployment=deployment,
        version="1",
        model=Artifact({"model.onnx": blob}),
        model_file="model.onnx",
        budget=Budget(max_latency_p99_ms=12.0),
        probation_s=0.0,
    )


async def until(look: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Seconds until `look` is true."""
    begun = time.monotonic()
    while not look():
        if time.monotonic() - begun > timeout_s:
            raise SystemExit(f"{what}: not within {timeout_s:g} s")
        await asyncio.sleep(0.2)
    return time.monotonic() - begun
