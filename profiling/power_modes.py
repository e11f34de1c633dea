"""NVIDIA's power modes: what ``/etc/nvpmodel.conf`` offers, which of them may be switched to here, and switching.

Rules:
- reading needs no root; switching does, and happens only to ids that the owner allowed in ``/etc/edgewright/power.toml``;
- a change of a power-gating mask wants a reboot: such a mode is never asked for, and nvpmodel's question is never answered (its input is closed);
- an id says nothing about speed (on Orin Nano Super the highest id is the slowest), and a name is a cap on clocks, not on watts.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..core.errors import Unfit
from .conditions import power_mode
from .sysfs import Sysfs

CONFIG = "etc/nvpmodel.conf"
MAX_CONFIG_BYTES = 256 * 1024
MAX_MODES = 64
SWITCH_S = 4.0
_MODEL = re.compile(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>")
_DEFAULT = re.compile(r"<\s*PM_CONFIG\s+DEFAULT=(\d+)\s*>")
_GATING = re.compile(r"\S*(?:POWER_GATING|PG_MASK)\S*")


@dataclass(frozen=True, slots=True)
class PowerMode:
    """One block of the file. `gating` are its power-gating lines: between modes where they differ lies a reboot."""

    id: int
    name: str
    gating: tuple[str, ...]


class Switch(Protocol):
    """What can read and change the mode: `NvpmodelSwitch`, or a fake."""

    def current(self) -> int | None: ...

    def change(self, mode: int) -> None:
        """Returns when the mode is changed.

        Raises:
            Unfit: it was refused.
        """
        ...


def read_modes(tree: Sysfs) -> tuple[PowerMode, ...]:
    """The modes of this board; empty where there is no nvpmodel."""
    text = tree.text(CONFIG, MAX_CONFIG_BYTES) or ""
    found: list[PowerMode] = []
    gating: list[str] = []
    head: tuple[int, str] | None = None
    for line in (*text.splitlines(), "<"):
        plain = line.partition("#")[0].strip()
        if plain.startswith("<") and head is not None:
            found.append(PowerMode(head[0], head[1], tuple(sorted(gating))))
            head = None
        match = _MODEL.match(plain)
        if match is not None:
            head, gating = (int(match.group(1)), match.group(2)), []
        elif head is not None and _GATING.match(plain):
            gating.append(" ".join(plain.split()))
    return tuple(found[:MAX_MODES])


def default_mode(tree: Sysfs) -> int | None:
    match = _DEFAULT.search(tree.text(CONFIG, MAX_CONFIG_BYTES) or "")
    return int(match.group(1)) if match is not None else None


def switchable(modes: Sequence[PowerMode], current: int | None, allowed: Sequence[int]) -> tuple[tuple[PowerMode, ...], tuple[str, ...]]:
    """The modes that may be switched to without a reboot, and for each other one the reason why not."""
    here = next((mode for mode in modes if mode.id == current), None)
    chosen, reasons = [], []
    for mode in modes:
        if mode.id not in allowed:
            reasons.append(f"mode {mode.id} ({mode.name}) is not in [modes] allow of power.toml")
        elif here is None:
            reasons.append(f"mode {mode.id} ({mode.name}): the current mode is not known, so that there would be no way back")
        elif mode.gating != here.gating:
            reasons.append(f"mode {mode.id} ({mode.name}) differs in power gating from {here.name}: it would want a reboot")
        else:
            chosen.append(mode)
    known = {mode.id for mode in modes}
    reasons += [f"mode {identity} is allowed, but this board has no such mode" for identity in allowed if identity not in known]
    return tuple(chosen), tuple(reasons)


Run = Callable[[Sequence[str], float], "tuple[int, str]"]


def run_program(argv: Sequence[str], time_s: float) -> tuple[int, str]:
    """Run with closed input; exit status and what was printed. 124 when it did not end in time: it was asking."""
    try:
        done = subprocess.run(list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=time_s, check=False)
    except subprocess.TimeoutExpired as error:
        return 124, (error.stdout or b"").decode(errors="replace")
    except OSError as error:
        return 127, str(error.strerror)
    return done.returncode, done.stdout.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class NvpmodelSwitch:
    """The real program. It is asked with its input closed, and the mode is read back from where it keeps it."""

    tree: Sysfs
    run: Run = run_program

    def current(self) -> int | None:
        mode = power_mode(self.tree)
        return int(mode) if mode is not None else None

    def change(self, mode: int) -> None:
        """Switch to `mode`.

        Raises:
            Unfit: ``mode-refused``.
        """
        status, words = self.run(["nvpmodel", "-m", str(mode)], SWITCH_S)
        if self.current() == mode:
            return
        if status == 124 or "reboot" in words.lower():
            why = "it asks for a reboot, which is never answered here"
        else:
            why = words.strip().splitlines()[-1][:200] if words.strip() else f"exit status {status}"
        raise Unfit("mode-refused", f"nvpmodel did not switch to mode {mode}: {why}", "Run as root, or take the mode from [modes] allow")
