"""What can happen to a device of `tests/fakes/device.py`, each with the end that it must come to, and a picture of that end."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from edgewright.agent import requests
from edgewright.agent.deployment import TRANSITIONS
from edgewright.core.budget import Budget
from edgewright.core.errors import Unfit
from edgewright.core.wire.messages import AGENT_MODEL, TERMINAL_STATES, Command


@dataclass(frozen=True)
class Story:
    """What is done to a device. `do` is done again after a crash, as the fleet does: the goal is retained, a command is sent until it is answered."""

    prepare: Callable[[Any], None]
    do: Callable[[Any], None]
    tell: Callable[[Any], None] = lambda _device: None
    is_removal: bool = False


def goal(device: Any, *orders: Any) -> None:
    """The retained goal, as it arrives on a connect: the same bytes are no news."""
    wanted = {order.deployment for order in orders}
    records = device.deployer.journal.models.values()
    if wanted != {record.wanted.deployment for record in records if record.wanted is not None}:
        device.want(*orders)


def command(device: Any, verb: str) -> None:
    if any(answer.command == verb for answer in device.deployer.journal.answers):
        return
    sequence = device.deployer.journal.command_sequence + 1
    requests.obey(
        device.deployer,
        Command(fleet="fleet", device="board-1", sequence=sequence, issued_s=1.0, expires_s=2.0, id=verb, verb=verb, model="surface"),
    )


def two_versions(device: Any) -> None:
    one_version(device)
    device.want(device.order("d2", size=200_000, seed=2))
    device.settle()


def one_version(device: Any) -> None:
    device.want(device.order("d1", size=200_000))
    device.settle()


def fails(device: Any) -> None:
    device.steps.failures["probe"] = Unfit("engine-unusable", "it does not load", "Send another")


def with_traces(device: Any) -> None:
    """Two versions, and what builds leave behind."""
    two_versions(device)
    for name in ("cache/engines/f/engine.onnx", "cache/costs/here.json"):
        path = device.state / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"measured here")


def wipe(device: Any) -> None:
    if device.deployer.journal.wipe == 0:
        device.want(wipe=1)


def version(device: Any, name: str = "v1") -> None:
    """The goal: a model and a version of the agent."""
    wanted = {record.wanted.deployment for record in device.deployer.journal.models.values() if record.wanted is not None}
    if wanted != {"d1", name}:
        device.want(device.order("d1", size=200_000), **{AGENT_MODEL: device.package(name)})


def change_runtime(device: Any) -> None:
    device.deployer.runtime = "onnxruntime 2.0"
    device.deployer.advance()


STORIES = {
    "a first deployment": Story(lambda _device: None, lambda device: goal(device, device.order("d1", size=200_000))),
    "a next version": Story(one_version, lambda device: goal(device, device.order("d2", size=200_000, seed=2))),
    "a version that the gate refuses": Story(
        one_version, lambda device: goal(device, device.order("d2", size=200_000, seed=2, budget=Budget(max_size_bytes=1)))
    ),
    "a version that does not run": Story(one_version, lambda device: goal(device, device.order("d2", size=200_000, seed=2)), fails),
    "a removal": Story(two_versions, goal, is_removal=True),
    "a roll-back by the owner": Story(two_versions, lambda device: command(device, "rollback")),
    "a version of the agent": Story(one_version, version),
    "a wipe": Story(with_traces, wipe, is_removal=True),
    "a new runtime": Story(one_version, change_runtime),
}


def picture(device: Any, fake_device: ModuleType) -> dict[str, Any]:
    """Everything that must be the same, whatever happened on the way."""
    models = {}
    for name, record in device.deployer.journal.models.items():
        slots = device.deployer.slots(name).read()
        current = record.deployment
        models[name] = {
            "slots": [slot.folder if slot is not None else None for slot in (slots.active, slots.previous, slots.trial)],
            "current": device.launched() if name == AGENT_MODEL else device.current(name),
            "engines": sorted(path.name for path in device.deployer.slots(name).engines.glob("*")),
            "state": (current.order.deployment, current.attempt, current.state, current.reason.code if current.reason else None),
            "held": (record.held, record.leaving),
        }
    return {
        "models": models,
        "folders": sorted(path.name for path in (device.state / "models").iterdir()) if (device.state / "models").is_dir() else [],
        "blobs": sorted(path.name for path in (device.state / "blobs").iterdir()),
        "traces": sorted(str(path.relative_to(device.state)) for path in device.state.glob("cache/**/*")),
        "runs": device.running_version,
        "wiped": device.deployer.journal.wiped,
        "leftovers": fake_device.leftovers(device.state),
        "spooled": len(device.outbox),
        "problems": [reason.code for reason in device.deployer.problems.values()],
    }


def is_told_without_a_gap(device: Any) -> bool:
    """Each deployment's events are a walk through the table of transitions, from its start to its end."""
    events = sorted(device.delivered.values(), key=lambda event: event.sequence)
    for deployment in {event.deployment for event in events}:
        states = [event.state for event in events if event.deployment == deployment]
        if states[0] != "OFFERED" or states[-1] not in TERMINAL_STATES:
            return False
        if any(after not in TRANSITIONS[before].values() for before, after in itertools.pairwise(states)):
            return False
    return True
