"""A crash before or after any effect: after the next start the deployment comes to the same end, and nothing lies about."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from edgewright.agent import requests
from edgewright.agent.deployment import TRANSITIONS
from edgewright.core.budget import Budget
from edgewright.core.errors import Unfit
from edgewright.core.wire.messages import TERMINAL_STATES, Command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@dataclass(frozen=True)
class Story:
    """What is done to a device. `do` is done again after a crash, as the fleet does: the goal is retained, a command is sent until it is answered."""

    prepare: Callable[[Any], None]
    do: Callable[[Any], None]
    tell: Callable[[Any], None] = lambda _device: None


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
    "a removal": Story(two_versions, goal),
    "a roll-back by the owner": Story(two_versions, lambda device: command(device, "rollback")),
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
            "current": device.current(name),
            "engines": sorted(path.name for path in device.deployer.slots(name).engines.iterdir()),
            "state": (current.order.deployment, current.attempt, current.state, current.reason.code if current.reason else None),
            "held": (record.held, record.leaving),
        }
    return {
        "models": models,
        "folders": sorted(path.name for path in (device.state / "models").iterdir()) if (device.state / "models").is_dir() else [],
        "blobs": sorted(path.name for path in (device.state / "blobs").iterdir()),
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


class Teller:
    """Tells a story on a fresh copy of the prepared state, with crashes."""

    def __init__(self, folder: Path, story: Story, load_fake: Callable[[str], ModuleType], patch: pytest.MonkeyPatch) -> None:
        self.fake_device = load_fake("device")
        self._folder = folder
        self._story = story
        self._prepared = self.fake_device.Device(folder / "prepared")
        story.prepare(self._prepared)
        self._state = folder / "state"
        self.points = load_fake("crashes").CrashPoints(self._state, self.fake_device.Crash)
        self.points.install(patch)

    def tell(self, *crashes: int | None) -> tuple[Any, int]:
        """The device afterwards, and how many points of the last life were passed."""
        shutil.rmtree(self._state, ignore_errors=True)
        shutil.copytree(self._folder / "prepared", self._state, symlinks=True)
        device = self.fake_device.Device(self._state)
        device.delivered.update(self._prepared.delivered)
        self._story.tell(device)
        device.steps._step = self.points.between(device.steps._step)
        for number, at in enumerate((*crashes, None)):
            with self.points.armed(at):
                try:
                    if number:
                        device.start(runtime=device.deployer.runtime)
                    self._story.do(device)
                    device.settle(until_s=300.0)
                except self.fake_device.Crash:
                    self.points.at = None
                    device.crashed()
                    continue
            break
        return device, self.points.passed


@pytest.mark.parametrize("name", STORIES)
def test_a_crash_at_any_effect_leads_to_the_same_end(
    name: str, tmp_path: Path, load_fake: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    teller = Teller(tmp_path, STORIES[name], load_fake, monkeypatch)
    device, points = teller.tell()
    expected = picture(device, teller.fake_device)
    assert points >= 5
    assert (expected["leftovers"], expected["spooled"], expected["problems"]) == ([], 0, [])
    assert is_told_without_a_gap(device)

    for at in range(points):
        device, _ = teller.tell(at)
        assert expected == picture(device, teller.fake_device), f"a crash at point {at} of {points}"
        assert is_told_without_a_gap(device), f"a crash at point {at} of {points}"


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory, load_fake: Callable[[str], ModuleType]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        teller = Teller(tmp_path_factory.mktemp("crashing"), STORIES["a next version"], load_fake, patch)
        device, _ = teller.tell()
        yield teller, picture(device, teller.fake_device)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(crashes=st.lists(st.integers(0, 120), min_size=2, max_size=6))
def test_crashes_on_the_way_back_from_crashes_lead_to_the_same_end(crashing: Any, crashes: list[int]) -> None:
    teller, expected = crashing

    device, _ = teller.tell(*crashes)

    assert expected == picture(device, teller.fake_device)
    assert is_told_without_a_gap(device)
