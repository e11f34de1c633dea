"""Installs a version of the agent beside the one that runs: a virtual environment of its own, from wheels that were verified, without a network.

The new environment holds only what came with it; everything else it takes from the installation that the first agent came with (`BASE_NAME`), as
JetPack's own TensorRT is. Nothing of that installation, nor of the version that runs, is touched.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from ..core.errors import Rejected
from .child import Progress
from .request import InstallRequest

BASE_NAME = "edgewright-base.pth"
PIP_S = 600.0
CHECK_S = 120.0
KEPT_BYTES = 400


def install(request: InstallRequest, progress: Progress) -> None:
    """Make the environment in ``out``, which does not exist, and let it start the agent as far as its configuration.

    Raises:
        Rejected: ``package-unusable``: the wheels do not fit this device, or the agent in them does not start.
    """
    out, wheels = Path(request.out), sorted(str(path) for path in Path(request.wheels).iterdir())
    progress(0.1, "making an environment")
    venv.EnvBuilder(system_site_packages=_sees_system(), symlinks=True, with_pip=False).create(out)
    packages = Path(sysconfig.get_path("purelib", "venv" if "venv" in sysconfig.get_scheme_names() else "posix_prefix", {"base": str(out)}))
    (packages / BASE_NAME).write_text(_base_line(), encoding="utf-8")
    progress(0.3, f"installing {len(wheels)} wheels")
    pip = [
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-compile",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--target",
        str(packages),
        *wheels,
    ]
    _run([sys.executable, "-I", "-m", "pip", *pip], PIP_S, "the wheels cannot be installed here")
    progress(0.8, "starting it")
    check_start(out, request.config, request.version)


def check_start(folder: Path, config: str, version: str) -> None:
    """Whether the version in `folder` comes as far as its configuration, and says that it is `version`.

    Raises:
        Rejected: ``package-unusable``.
    """
    command = [str(folder / "bin" / "python"), "-I", "-m", "edgewright.agent", "--config", config, "--check"]
    said = _run(command, CHECK_S, "the agent in it does not start here").strip()
    if said != version:
        raise Rejected("package-unusable", f"the package says that it is version {said[:40]!r}, not {version!r}", "Build the wheel again")


def _sees_system() -> bool:
    """Whether this environment sees the system's packages, as on a Jetson; the new one shall as well."""
    try:
        lines = (Path(sys.prefix) / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except OSError:
        return True
    return any(line.replace(" ", "").lower() == "include-system-site-packages=true" for line in lines)


def _base_line() -> str:
    """The first installation's packages: ours, unless we are a deployed version ourselves and have its line."""
    packages = Path(sysconfig.get_path("purelib"))
    try:
        return (packages / BASE_NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        return f"import site; site.addsitedir({str(packages)!r})\n"


def _run(command: list[str], limit_s: float, what: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise Rejected("package-unusable", f"{what}: it took more than {limit_s:.0f} s", "Try the package on a board of this kind") from error
    if done.returncode:
        why = " ".join(done.stderr.split())[-KEPT_BYTES:]
        raise Rejected("package-unusable", f"{what}: {why}", "Try the package on a board of this kind")
    return done.stdout
