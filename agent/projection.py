"""What the device says about itself: the journal and the slots, as messages of the wire. Reads, never changes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .. import __version__
from ..core.errors import EdgewrightError, Reason
from ..core.wire.messages import Capabilities, ModelReport, Reported
from .config import AgentConfig
from .slots import Slots
from .steps import DeviceFacts
from .vitals import machine, memory_mb

if TYPE_CHECKING:
    from .deployer import Deployer


def reported(deployer: Deployer, session: int, problems: tuple[Reason, ...]) -> Reported:
    """The truth on this device's disk, whole."""
    config = deployer.parts.config
    return Reported(
        fleet=config.fleet,
        device=config.device,
        session=session,
        desired_sequence=deployer.journal.desired_sequence,
        time_s=deployer.parts.clock_s(),
        models={name: report_of_model(deployer, name) for name in sorted(deployer.journal.models)},
        problems=problems,
        wiped=deployer.journal.wiped,
    )


def report_of_model(deployer: Deployer, name: str) -> ModelReport:
    """One model: its slots and its latest deployment."""
    record, slots = deployer.journal.models[name], _slots(deployer, name)
    current = record.deployment
    done, total = deployer.downloads.progress(name)
    return ModelReport(
        active=slots.active.report() if slots.active else None,
        previous=slots.previous.report() if slots.previous else None,
        trial=slots.trial.report(slots.starts) if slots.trial else None,
        held=record.held,
        deployment=current.order.deployment if current else None,
        state=current.state if current else None,
        attempt=current.attempt if current else 0,
        reason=current.reason if current else None,
        measurement=current.measurement if current else None,
        bytes_done=done,
        bytes_total=total,
        progress=current.progress if current else None,
        progress_note=current.progress_note if current else "",
        written_bytes=current.written_bytes if current else None,
    )


def _slots(deployer: Deployer, name: str) -> Slots:
    """Slots that the disk does not give out are reported as empty, beside the problem that says so: one model must not silence a device."""
    try:
        return deployer.slots(name).read()
    except EdgewrightError:
        return Slots()


def capabilities(config: AgentConfig, facts: DeviceFacts, free_disk_mb: int | None) -> Capabilities:
    """What this device is and has."""
    return Capabilities(
        fleet=config.fleet,
        device=config.device,
        board=facts.board,
        machine=machine(),
        agent_version=__version__,
        memory_mb=memory_mb(),
        cores=len(os.sched_getaffinity(0)),
        backends=facts.backends,
        sensors=facts.sensors,
        free_disk_mb=free_disk_mb,
        hardware_class=f"{facts.board} / {facts.processor}" if facts.processor else facts.board,
    )
