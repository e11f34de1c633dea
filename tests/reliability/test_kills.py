"""A sample of the crash matrix: real agents, killed at points of every story; the benchmark does them all."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.slow
KILLS_PER_STORY = 2
STORIES = (
    "first", "update", "refused by the gate", "fails to build", "does not load", "unhealthy", "cancelled download", "cancelled trial",
    "superseded download", "superseded trial", "rolled back by the owner", "released by the owner", "wanted twice", "by a delta", "a new runtime",
    "profiled", "removed",
)  # fmt: skip


@pytest.fixture(scope="module")
def matrix(faults: Callable[[str], ModuleType], ground: Any) -> Any:
    return faults("matrix").Matrix(ground)


def test_every_story_is_told_here(faults: Callable[[str], ModuleType]) -> None:
    assert tuple(faults("stories").STORIES) == STORIES


@pytest.mark.parametrize("story", STORIES)
def test_a_kill_anywhere_leads_to_the_same_end(matrix: Any, story: str) -> None:
    points = matrix.points(story)
    assert len(points) > 40
    for target in random.Random(story).sample(points, KILLS_PER_STORY):
        run = matrix.tell(story, target)
        assert run.wrong == (), f"killed at {target}"


def test_a_kill_on_the_way_back_from_a_kill_leads_to_the_same_end(matrix: Any) -> None:
    run = matrix.tell("update", "state PROBATION#0", "state SUCCEEDED#0")

    assert (run.is_reached, run.lives, run.wrong) == (True, 3, ())


def test_a_matrix_that_finds_nothing_wrong_would_have_found_it(matrix: Any, faults: Callable[[str], ModuleType], ground: Any) -> None:
    """The end of a story, spoilt by hand: what is left over, what does not load, and what was told twice are seen."""
    story = faults("stories").STORIES["update"]
    assert matrix.tell("update").wrong == ()
    (ground.state / "work" / "forgotten").mkdir(parents=True)
    engine = next((ground.state / "models" / "surface" / "current").resolve().glob("*.onnx"))
    engine.chmod(0o600)
    engine.write_bytes(engine.read_bytes()[:-1] + b"x")
    event = max(ground.events.values(), key=lambda event: event.sequence)
    ground.events["again"] = type(event)(
        **{name: getattr(event, name) for name in event.__struct_fields__} | {"id": "again", "sequence": event.sequence + 1, "state": "ACTIVATING"}
    )
    wrong = " ".join(matrix._judge(story))

    assert "left over: work/forgotten" in wrong
    assert "does not load" in wrong
    assert "d2 ended ['ACTIVATING'] instead of SUCCEEDED" in wrong
