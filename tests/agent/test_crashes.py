"""A crash before or after any effect: after the next start the deployment comes to the same end, and nothing lies about."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


class Teller:
    """Tells a story on a fresh copy of the prepared state, with crashes."""

    def __init__(self, folder: Path, story: Any, load_fake: Callable[[str], ModuleType], patch: pytest.MonkeyPatch) -> None:
        self.fake_device = load_fake("device")
        self.picture, self.is_told = load_fake("tales").picture, load_fake("tales").is_told_without_a_gap
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


STORIES = (
    "a first deployment",
    "a next version",
    "a version that the gate refuses",
    "a version that does not run",
    "a removal",
    "a roll-back by the owner",
    "a version of the agent",
    "a wipe",
    "a new runtime",
)


@pytest.fixture
def tales(load_fake: Callable[[str], ModuleType]) -> ModuleType:
    """The module ``tests/fakes/tales.py``."""
    return load_fake("tales")


def test_every_tale_is_told_here(tales: ModuleType) -> None:
    assert tuple(tales.STORIES) == STORIES


@pytest.mark.parametrize("name", STORIES)
def test_a_crash_at_any_effect_leads_to_the_same_end(
    name: str, tmp_path: Path, tales: ModuleType, load_fake: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    teller = Teller(tmp_path, tales.STORIES[name], load_fake, monkeypatch)
    device, points = teller.tell()
    expected = teller.picture(device, teller.fake_device)
    assert points >= 5
    assert (expected["leftovers"], expected["spooled"], expected["problems"]) == ([], 0, [])
    assert teller.is_told(device)

    for at in range(points):
        device, _ = teller.tell(at)
        assert expected == teller.picture(device, teller.fake_device), f"a crash at point {at} of {points}"
        assert teller.is_told(device), f"a crash at point {at} of {points}"


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory, load_fake: Callable[[str], ModuleType]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        teller = Teller(tmp_path_factory.mktemp("crashing"), load_fake("tales").STORIES["a next version"], load_fake, patch)
        device, _ = teller.tell()
        yield teller, teller.picture(device, teller.fake_device)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(crashes=st.lists(st.integers(0, 120), min_size=2, max_size=6))
def test_crashes_on_the_way_back_from_crashes_lead_to_the_same_end(crashing: Any, crashes: list[int]) -> None:
    teller, expected = crashing

    device, _ = teller.tell(*crashes)

    assert expected == teller.picture(device, teller.fake_device)
    assert teller.is_told(device)
