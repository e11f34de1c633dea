"""What the commands of ``fleet`` share: the state folder and its database."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..controller.database import Database
    from ..controller.paths import FleetPaths

STATE_VARIABLE = "EDGEWRIGHT_FLEET"
state_option = click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=Path("fleet"),
    envvar=STATE_VARIABLE,
    show_default=True,
    show_envvar=True,
    help="The fleet's state folder.",
)
selector_options = (
    click.option("--device", "names", multiple=True, help="A device; may be repeated."),
    click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Devices with this label; several must all fit."),
    click.option("--class", "hardware_class", help="Devices of this hardware class."),
)
devices_option = click.option("--device", "names", multiple=True, help="A device; may be repeated. Default: all of them.")


def with_options(options: tuple[Callable[..., Any], ...]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that gives a command all of `options`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def fleet_paths(state: Path) -> FleetPaths:
    """The state folder of a fleet that exists.

    Raises:
        Unfit: ``fleet-absent`` or ``state-unusable``.
    """
    from ..controller.keys import fleet_name
    from ..controller.paths import FleetPaths

    paths = FleetPaths(state.resolve())
    fleet_name(paths)
    paths.make()
    return paths


@contextlib.contextmanager
def fleet_database(paths: FleetPaths) -> Iterator[Database]:
    """The fleet's database for one command.

    Raises:
        Unfit: ``controller-missing``.
    """
    from ..core.errors import Unfit

    try:
        from ..controller.database import Database, place_of
    except ImportError as error:
        hint = "pip install 'edgewright[controller]'"
        raise Unfit("controller-missing", "the controller's libraries are not installed", hint) from error
    with contextlib.closing(Database(place_of(paths))) as database:
        yield database
