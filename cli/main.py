"""The program ``edgewright``: finds a command's file only when it is used, and turns every error into one line and an exit status."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from .. import __version__

# command → module:attribute; nothing is imported before its command is used.
COMMANDS = {
    "optimize": "optimize:optimize",
    "calibrate": "calibrate:calibrate",
    "build": "build:build",
    "bench": "bench:bench",
    "power": "power:power",
    "doctor": "doctor:doctor",
    "agent": "agent:agent",
    "fleet": "fleet:fleet",
    "demo": "demo.command:demo",
}


class LazyGroup(click.Group):
    """A group whose commands are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(f".{module}", __package__), attribute)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="edgewright")
def program() -> None:
    """Deploy, compress, calibrate, measure and gate neural networks on edge devices."""


def main(argv: list[str] | None = None) -> None:
    """Run the program: exits 0 on success, 2 on bad usage, 1 on a refusal or failure, 130 on Ctrl-C."""
    arguments = sys.argv[1:] if argv is None else argv
    sys.exit(run(arguments))


def run(arguments: list[str]) -> int:
    """As `main`, but returns the exit status."""
    from ..core.errors import EdgewrightError

    try:
        status: Any = program.main(arguments, prog_name="edgewright", standalone_mode=False)
    except EdgewrightError as error:
        from .output import print_failure

        print_failure(error.reason, as_json="--json" in arguments)
        return 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    return status if isinstance(status, int) else 0


if __name__ == "__main__":
    main()
