"""What the daemon answers on its control socket. In the loop; reads the daemon, and changes it only through `requests`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec

from .. import __version__
from ..core.errors import Rejected
from ..core.nearest import nearest_hint
from . import projection, requests
from .control import ControlRequest
from .deployment import is_open

if TYPE_CHECKING:
    from .daemon import Daemon


def answer(daemon: Daemon, request: ControlRequest) -> object:
    """The answer to one request.

    Raises:
        EdgewrightError: the request cannot be met.
    """
    deployer = daemon.deployer
    if request.verb == "status":
        return _status(daemon)
    if request.verb == "jobs":
        return _jobs(daemon)
    if request.verb == "explain":
        return _explain(daemon, request.name)
    if request.verb == "diag":
        return _diag(daemon)
    if request.verb == "cancel":
        requests.cancel(deployer, request.name, "the owner of this device")
    elif request.verb == "rollback":
        requests.roll_back(deployer, request.name)
    elif request.verb == "release":
        requests.release(deployer, request.name)
    return {"done": request.verb, "name": request.name}


def _status(daemon: Daemon) -> dict[str, Any]:
    config = daemon.config
    return {
        "fleet": config.fleet,
        "device": config.device,
        "version": __version__,
        "connected": daemon.session.is_connected,
        "broker": f"{config.broker.host}:{config.broker.port}",
        "events_waiting": len(daemon.outbox),
        "runtime": daemon.deployer.runtime,
        "models": {name: projection.report_of_model(daemon.deployer, name) for name in sorted(daemon.deployer.journal.models)},
        "problems": daemon.all_problems(),
    }


def _jobs(daemon: Daemon) -> list[dict[str, Any]]:
    """Open deployments, and how far each is."""
    jobs = []
    for name, record in sorted(daemon.deployer.journal.models.items()):
        current = record.deployment
        if current is None or not is_open(current.state):
            continue
        done, total = daemon.deployer.downloads.progress(name)
        jobs.append(
            {
                "deployment": current.order.deployment,
                "model": name,
                "state": current.state,
                "attempt": current.attempt,
                "elapsed_s": round(current.elapsed_s, 1),
                "bytes_done": done,
                "bytes_total": total,
                "progress": current.progress,
                "note": current.progress_note,
            }
        )
    return jobs


def _explain(daemon: Daemon, name: str) -> dict[str, Any]:
    """Everything that is known of one model's last deployment, by the model's or the deployment's name."""
    models = daemon.deployer.journal.models
    for model, record in models.items():
        current = record.deployment
        if current is not None and name in {model, current.order.deployment}:
            return {
                "model": model,
                "deployment": current.order.deployment,
                "version": current.order.version,
                "state": current.state,
                "attempt": current.attempt,
                "reason": current.reason,
                "held": record.held,
                "budget": current.order.budget,
                "measurement": current.measurement,
                "notes": current.notes,
                "elapsed_s": round(current.elapsed_s, 1),
                "probation_s": round(current.probation_s, 1),
                "runtime": current.runtime,
                "written_bytes": current.written_bytes,
            }
    raise Rejected("deployment-unknown", f"nothing called {name!r} is on this device", nearest_hint(name, models) if models else "")


def _diag(daemon: Daemon) -> dict[str, Any]:
    """What a report of a fault needs. No secret is in it."""
    journal = msgspec.to_builtins(daemon.deployer.journal)
    return {
        "status": _status(daemon),
        "jobs": _jobs(daemon),
        "python": sys.version.split()[0],
        "time_s": time.time(),
        "capabilities": daemon.capabilities,
        "config": {
            "limits": daemon.config.limits,
            "optimize": daemon.config.optimize,
            "telemetry": daemon.config.telemetry,
            # Their arguments are the owner's own, and may be anything.
            "models": {name: {"activate": bool(section.activate), "health": bool(section.health)} for name, section in daemon.config.models.items()},
        },
        "journal": journal,
    }
