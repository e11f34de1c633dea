"""``edgewright demo``: shows a whole fleet at work on this machine, and says whether everything was seen that had to be seen."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..output import existing_path, json_option, prepare_out, print_json

if TYPE_CHECKING:
    from ...controller.reports import DeploymentView
    from ...core.wire.messages import Event
    from .scenario import Seen

DEVICES = ("board-1", "board-2")


@click.command()
@click.option(
    "--broker", type=click.Choice(["auto", "mosquitto", "amqtt"]), default="auto", show_default=True, help="auto: Mosquitto where installed."
)
@click.option("--keep", type=existing_path, help="Keep everything (states, logs, data) in this new or empty folder.")
@json_option
def demo(broker: str, keep: Path | None, as_json: bool) -> int:
    """Run a broker, a controller and two agents here, and send them three deployments.

    The first must be accepted, the second refused by its gate, the third refused because its bytes were damaged at the source. Exits 0
    only if all of that was seen. Nothing leaves this machine, and no process stays behind.
    """
    _need_libraries()
    with _terminated_like_interrupted(), _folder(keep) as folder:
        return _Demo(folder, as_json=as_json).run(broker)


class _Demo:
    """One run: what it prints, and what it has seen."""

    def __init__(self, folder: Path, *, as_json: bool) -> None:
        self._folder = folder
        self._as_json = as_json
        self._started = time.monotonic()

    def run(self, broker: str) -> int:
        from ...controller.enrollment import Address
        from .loopback import LoopbackFleet
        from .scenario import STEPS, Scenario

        seen: list[Seen] = []
        views: list[DeploymentView] = []
        with LoopbackFleet(self._folder) as fleet:
            self._say("drawing the pictures of the calibration and evaluation sets")
            scenario = Scenario(fleet, DEVICES, self._folder)
            scenario.draw_data()
            served = fleet.serve(broker)
            self._say(f"{served.broker} listens at {served.host}:{served.port}, the controller serves")
            fleet.start_agents(DEVICES, Address(served.host, served.port))
            self._say(f"{' and '.join(DEVICES)} are online")
            for number, step in enumerate(STEPS, 1):
                self._title(f"{number}. {step.title}")
                result, view = scenario.run(step, self._event)
                seen.append(result)
                views.append(view)
                self._end_of_step(result, view)
            devices = fleet.reports.devices()
        is_good = all(entry.is_as_expected for entry in seen)
        if self._as_json:
            print_json({"devices": devices, "deployments": seen, "table": self._table(views[0]), "seconds": self._seconds, "passed": is_good})
        else:
            matched = sum(entry.is_as_expected for entry in seen)
            click.echo(f"\n{matched} of {len(seen)} deployments came to their expected end, in {self._seconds:.0f} s")
        return 0 if is_good else 1

    @property
    def _seconds(self) -> float:
        return round(time.monotonic() - self._started, 1)

    def _say(self, text: str) -> None:
        click.echo(f"{self._seconds:6.1f} s  {text}", err=self._as_json)

    def _title(self, text: str) -> None:
        click.echo(f"\n{text}", err=self._as_json)

    def _event(self, event: Event) -> None:
        why = f": {event.reason.message} [{event.reason.code}]" if event.reason else ""
        self._say(f"{event.device}  {event.state}{why}")

    def _end_of_step(self, result: Seen, view: DeploymentView) -> None:
        from ..fleet_report import print_report

        if result.expected == "SUCCEEDED" and not self._as_json:
            click.echo()
            print_report(view)
        running = ", ".join(f"{name} runs {version or 'nothing'}" for name, version in sorted(result.active.items()))
        outcome = "as expected" if result.is_as_expected else f"NOT as expected ({result.expected})"
        self._say(f"{result.state}, {outcome}; {running}")

    @staticmethod
    def _table(view: DeploymentView) -> list[dict[str, Any]]:
        """FP32 and the chosen engine of each device, as measured there."""
        return [
            {"device": target.device, "baseline": target.measurement.baseline, "chosen": target.measurement.chosen}
            for target in view.devices
            if target.measurement is not None
        ]


def _need_libraries() -> None:
    """Raises:
    Unfit: ``controller-missing``.
    """
    import importlib.util

    from ...core.errors import Unfit

    if importlib.util.find_spec("sqlalchemy") is None or importlib.util.find_spec("PIL") is None:
        message = "the demo needs the controller's libraries and Pillow"
        raise Unfit("controller-missing", message, "pip install 'edgewright[controller,images]'")


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Where everything goes: `keep`, or a temporary folder that is deleted."""
    if keep is not None:
        yield prepare_out(keep)
        return
    folder = Path(tempfile.mkdtemp(prefix="edgewright-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM ends the demo like Ctrl-C: processes stopped, folder deleted."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
