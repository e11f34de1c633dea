"""The pre-start process: ``python -m edgewright.agent.revert --config FILE [--boot | --model NAME]``. Counts a start, and takes a crash-looping
trial out.

systemd runs it at boot before everything else of ours (``--boot``: a model may bring the whole board down), before every other start of the agent
(``ExecStartPre=``), and from an application's ``OnFailure=`` unit with ``--model``. A boot and the agent's first start after it count once. It
imports as little as it can: it must work when what it undoes has broken the agent itself. A version of the agent on trial is counted as models are.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..core.errors import EdgewrightError
from ..core.files import write_atomic
from .config import Essentials, essentials_from_toml
from .slots import ModelSlots, all_models
from .vitals import boot_id

COUNTED_NAME = "counted-boot"


def main(argv: list[str] | None = None) -> int:
    """Exits 0 always but for a configuration that cannot be read: a start must not fail because nothing was to be reverted."""
    parser = argparse.ArgumentParser(prog="python -m edgewright.agent.revert", description="Count a start; revert a crash-looping trial.")
    parser.add_argument("--config", type=Path, required=True, help="the agent's configuration file")
    parser.add_argument("--boot", action="store_true", help="the machine has started; the agent's first start is counted with it")
    parser.add_argument("--model", help="only this model: its application has failed")
    options = parser.parse_args(argv)
    try:
        config = essentials_from_toml(options.config)
    except EdgewrightError as error:
        print(f"edgewright: {error.reason.line()} [{error.code}]", file=sys.stderr)
        return 1
    if options.model is None and _is_counted(config.state / COUNTED_NAME, boot_id(), is_boot=options.boot):
        return 0
    for name in all_models(config.state):
        if options.model in {None, name}:
            _count_start(config, name)
    return 0


def _is_counted(path: Path, boot: str, *, is_boot: bool) -> bool:
    """Whether this start of the agent was counted as the boot that it belongs to. A disk that fails has it counted twice rather than never."""
    try:
        if is_boot:
            write_atomic(path, boot.encode())
        elif path.is_file() and path.read_bytes() == boot.encode():
            path.unlink()
            return True
    except (EdgewrightError, OSError) as error:
        print(f"edgewright: the boot could not be noted: {error}", file=sys.stderr)
    return False


def _count_start(config: Essentials, name: str) -> None:
    try:
        if ModelSlots(config.state, name).count_start(config.max_starts):
            print(f"edgewright: {name}: the engine on trial was taken out after {config.max_starts} starts", file=sys.stderr)
    except (EdgewrightError, OSError) as error:
        print(f"edgewright: {name}: the start could not be counted: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
