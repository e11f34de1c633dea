"""What goes into a support bundle, from a device in whatever state: the agent may be dead, its configuration wrong, its disk full.

It looks from outside, as the user who asks, and changes nothing. Each piece that cannot be had costs only itself.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from importlib.metadata import distributions
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from .. import __version__
from ..core.errors import Unfit
from .bundle import Bundle
from .config import AgentConfig, config_from_toml
from .control import ControlRequest, ask_agent
from .secrets import Scrubber, secrets_of
from .slots import all_models
from .steps import look_at_device

UNITS = ("edgewright-agent", "edgewright-revert", "edgewright-worker@*", "edgewright-helper@*", "edgewright-failed@*")
LOG_LINES = 4000
KERNEL_LINES = 400
KERNEL_WORDS = "edgewright|oom|out of memory|nvgpu|nvmap|i/o error|ext4|f2fs|mmc|nvme|throttl|over-current"
COMMAND_S = 20.0
MAX_OUTPUT_BYTES = 8 << 20
MAX_PATHS = 5000
MAX_TEXT_BYTES = 1 << 20
PROC = ("proc/meminfo", "proc/loadavg", "proc/uptime", "proc/version", "proc/mounts", "etc/os-release", "etc/nv_tegra_release")


def diagnose(config_path: Path, root: Path = Path("/")) -> Bundle:
    """Collect a bundle for the agent of `config_path`."""
    try:
        config: AgentConfig | None = config_from_toml(config_path)
    except Exception:  # told where the configuration should stand
        config = None
    bundle = Bundle(Scrubber([] if config is None else secrets_of(config)))
    bundle.add("config.json", "the configuration, without the commands' arguments", lambda: _config(config_path))
    bundle.add("versions.json", "Edgewright, Python and packages", _versions)
    bundle.add("machine.txt", "memory, load, mounts, release", lambda: _machine(root))
    bundle.add("doctor.json", "board, backends and sensors, each usable or why not", lambda: _json(look_at_device(threading.Event())))
    if config is not None:
        _of_state(bundle, config)
    for name, what, command in _commands():
        bundle.add(name, what, lambda command=command: _output(command), keep="end")  # type: ignore[misc]
    return bundle


def _of_state(bundle: Bundle, config: AgentConfig) -> None:
    state = config.state
    bundle.add("daemon.json", "what the running agent says", lambda: _json(ask_agent(config.socket, ControlRequest("diag"))))
    bundle.add("disk.json", "space where the state is", lambda: _disk(state))
    bundle.add("journal.json", "the journal of deployments", lambda: _text(state / "journal.json"))
    bundle.add("files.txt", "names, sizes and modes of the state folder's files", lambda: _listing(state))
    for model in all_models(state):
        bundle.add(f"models/{model}/slots.json", "its slots", lambda model=model: _text(state / "models" / model / "slots.json"))  # type: ignore[misc]
        for path in sorted((state / "models" / model / "engines").glob("*/manifest.json")):
            bundle.add(f"models/{model}/{path.parent.name}.json", "an engine's manifest", lambda path=path: _text(path))  # type: ignore[misc]


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1)


def _config(path: Path) -> bytes:
    """Every key but the arguments of commands, which are the owner's own and may be anything."""
    config = config_from_toml(path)
    fields: dict[str, Any] = msgspec.to_builtins(config, builtin_types=(Path,), enc_hook=str)
    for section in fields["models"].values():
        for verb in ("activate", "health"):
            section[verb] = [*section[verb][:1], *(["[left out]"] if len(section[verb]) > 1 else [])]
    return _json({key: str(value) if isinstance(value, Path) else value for key, value in fields.items()})


def _versions() -> bytes:
    packages: Mapping[str, str] = {found.metadata["Name"]: found.version for found in distributions() if found.metadata["Name"]}
    facts = {"edgewright": __version__, "python": sys.version, "machine": platform.machine(), "kernel": platform.release()}
    return _json({**facts, "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower()))})


def _machine(root: Path) -> str:
    parts = []
    for name in PROC:
        try:
            parts.append(f"== /{name}\n{_text(root / name).decode('utf-8', 'replace')}")
        except OSError as error:
            parts.append(f"== /{name}\n{error.strerror}\n")
    return "\n".join(parts)


def _disk(state: Path) -> bytes:
    space = os.statvfs(state)
    return _json(
        {
            "path": str(state),
            "size_bytes": space.f_blocks * space.f_frsize,
            "free_bytes": space.f_bavail * space.f_frsize,
            "inodes": space.f_files,
            "inodes_free": space.f_favail,
            "is_read_only": bool(space.f_flag & os.ST_RDONLY),
        }
    )


def _listing(state: Path) -> str:
    """One line per file, never its content. A link is shown with what it names."""
    lines = []
    for path in islice(_walk(state), MAX_PATHS):
        found = path.lstat()
        target = f" -> {path.readlink()}" if path.is_symlink() else ""
        lines.append(f"{found.st_mode:06o} {found.st_uid}:{found.st_gid} {found.st_size:>12} {int(found.st_mtime)} {path.relative_to(state)}{target}")
    return "\n".join([*lines, *(["…"] if len(lines) == MAX_PATHS else [])]) + "\n"


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(root, name) for name in sorted([*folders, *names]))


def _text(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_TEXT_BYTES + 1)


def _commands() -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    units = tuple(word for unit in UNITS for word in ("-u", unit))
    journal = ("journalctl", "--no-pager", "-q", "-o", "short-iso-precise")
    show = ("systemctl", "show", "-p", "Id,ActiveState,SubState,Result,NRestarts,ExecMainStatus,MemoryPeak", "edgewright-agent", "edgewright-revert")
    return (
        ("log.txt", f"the units' last {LOG_LINES} lines", (*journal, "-n", str(LOG_LINES), *units)),
        ("kernel.txt", "the kernel's words on memory, disks and the accelerator", (*journal, "-k", "-n", str(KERNEL_LINES), "-g", KERNEL_WORDS)),
        ("units.txt", "the units' state", show),
    )


def _output(command: tuple[str, ...]) -> bytes:
    """What a program of the system prints, its end."""
    program = shutil.which(command[0])
    if program is None:
        raise Unfit("program-absent", f"{command[0]} is not installed", "Nothing to do where systemd is not used")
    ended = subprocess.run([program, *command[1:]], stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_S, check=False)
    # journalctl ends with 1 when it finds nothing.
    if ended.returncode != 0 and not ended.stdout and ended.stderr:
        words = ended.stderr.decode("utf-8", "replace").strip()[:500]
        raise Unfit("program-failed", f"{command[0]} ended with {ended.returncode}: {words}", "Run it as root")
    return ended.stdout[-MAX_OUTPUT_BYTES:]
