"""The agent's own version as one of its deployments: which one runs, which one should, and when to make way for it.

What should run is what the slots of `AGENT_MODEL` say; what runs is the folder of this process's Python. Where they differ, and nothing is being
switched or built, the daemon ends, and whoever watches over it starts the other one (`launch`).
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import EdgewrightError, Unfit
from ..core.wire.messages import AGENT_MODEL, Order
from .launch import LAUNCHED_VARIABLE

if TYPE_CHECKING:
    from .deployer import Deployer

SETTLED = frozenset({"ACTIVATING", "ROLLING_BACK"})
UNHEARD_S = 900.0
"""Beyond its probation: a version that has not reached the controller by then is taken out."""


def runtime() -> str:
    """What an installed version depends on: with another Python it is installed again."""
    return f"Python {platform.python_version()}"


def running_folder(state: Path) -> str:
    """The name of the folder that this process runs from; empty when it is the installation's own."""
    prefix = Path(sys.prefix)
    return prefix.name if prefix.parent == (state / "models" / AGENT_MODEL / "engines").resolve() else ""


def check_updatable(order: Order) -> None:
    """Whether this agent can be exchanged for the version that `order` brings.

    Raises:
        Unfit: ``update-unavailable``.
        Rejected: ``package-malformed`` by `check_package`.
    """
    from ..core.package import check_package

    check_package(order)
    if not os.environ.get(LAUNCHED_VARIABLE):
        message = "this agent was not started by edgewright.agent.launch, which could start another version of it"
        raise Unfit("update-unavailable", message, "Take the units of docs/install-jetson.md, and restart the agent")


class Version:
    """Owned by the daemon's loop. `running` is what `running_folder` says."""

    def __init__(self, deployer: Deployer, running: str) -> None:
        self._deployer = deployer
        self.running = running

    @property
    def is_outdated(self) -> bool:
        """Whether another version should run now."""
        record = self._deployer.journal.models.get(AGENT_MODEL)
        if record is not None and (self._deployer.is_busy(AGENT_MODEL) or record.leaving):
            return False
        if record is not None and record.deployment is not None and record.deployment.state in SETTLED:
            return False
        try:
            slot = self._deployer.slots(AGENT_MODEL).read().running
        except EdgewrightError:
            return False
        return (slot.folder if slot is not None else "") != self.running

    def turn(self) -> None:
        """Make way when nothing is lost by it: builds come to their end first."""
        if self._deployer.parts.make_way is not None and self.is_outdated and not self._deployer.is_building:
            self._deployer.parts.make_way()
