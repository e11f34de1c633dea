"""What systemd itself says of the units: that it understands them, and how exposed the daemon is."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

MOST_EXPOSURE = 2.0
pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed: apt-get install systemd")


def analyze(*words: str) -> str:
    ended = subprocess.run(["systemd-analyze", "--no-pager", *words], capture_output=True, text=True, timeout=60, check=False)
    return ended.stdout + ended.stderr


def test_the_daemon_is_exposed_little(project_root: Path) -> None:
    said = analyze("security", "--offline=yes", str(project_root / "systemd" / "edgewright-agent.service"))
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    if level is None:
        pytest.skip(f"this systemd-analyze judges no files: {said[:200]}")

    assert float(level.group(1)) <= MOST_EXPOSURE


def test_systemd_knows_every_line(project_root: Path, tmp_path: Path) -> None:
    for path in (project_root / "systemd").iterdir():
        if path.suffix in {".service", ".socket", ".slice"}:
            text = path.read_text("utf-8")
            (tmp_path / path.name).write_text(
                text.replace("/opt/edgewright/bin/python", "/bin/true").replace("/opt/edgewright/bin/edgewright", "/bin/true")
            )
    said = analyze("verify", "--man=no", *map(str, sorted(tmp_path.iterdir())))

    assert [line for line in said.splitlines() if "edgewright" in line and "Unknown" in line] == []
