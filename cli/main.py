"""The program ``edgewright``: finds a command's file only when it is used, and turns every error into one line and an exit status."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from .. import __version__
from ..core.errors import EdgewrightError, Reason

TRACEBACK_VARIABLE = "EDGEWRIGHT_TRACEBACK"

# command → module:attribute; nothing is imported before its command is used.
COMMANDS = {
    "optimize": "optimize:optimize",
    "calibrate": "calibrate:calibrate",
    "ranges": "ranges:ranges",
    "compress": "compress:compress",
    "distill": "distill:distill",
    "build": "build:build",
    "bench": "bench:bench",
    "costs": "costs:costs",
    "engines": "engines:engines",
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
    from .output import print_error, print_failure

    as_json = "--json" in arguments
    try:
        status: Any = program.main(arguments, prog_name="edgewright", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        if as_json:
            print_error(Reason("usage", error.format_message(), "edgewright --help", "rejected"))
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except (click.Abort, KeyboardInterrupt):
        print_failure(Reason("interrupted", "interrupted", "", "rejected"), as_json=as_json)
        return 130
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        print_failure(_reason_of(error), as_json=as_json)
        return 1
    return status if isinstance(status, int) else 0


def _reason_of(error: Exception) -> Reason:
    """The one-line reason for whatever ended a command."""
    if isinstance(error, EdgewrightError):
        return error.reason
    if isinstance(error, MemoryError):
        return Reason("out-of-memory", "there is not enough memory", "Free memory, or use a smaller model or batch", "unfit")
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        return Reason("os-error", f"{name}{error.strerror or error}", "Check the path, its permissions and the free space", "unfit")
    text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
    return Reason("internal-error", text, f"Report this; {TRACEBACK_VARIABLE}=1 shows where it happened", "faulty")


if __name__ == "__main__":
    main()
