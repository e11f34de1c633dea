"""The crash matrix: lists the points of a story, kills a real agent at each, lets it start again, and looks at what has become of the device."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec
from edgewright.agent.deployment import TRANSITIONS
from edgewright.agent.journal import JournalFile
from edgewright.agent.slots import ModelSlots
from edgewright.core.artifact import walk_blobs
from edgewright.core.wire.messages import Order
from edgewright.engines.opening import check_folder
from edgewright.engines.provenance import trusted_keys

from .ground import MODEL, Ground
from .stories import STORIES, Story, is_over, running

WINDOW = 20


@dataclass(frozen=True, slots=True)
class Run:
    """One life that ended at `target`, and the next. `wrong` is what broke an invariant; empty = nothing."""

    story: str
    target: str | None
    is_reached: bool
    lives: int
    refetched: int
    wrong: tuple[str, ...]


class Matrix:
    """Tells stories on one ground; the ends that others begin with are kept as copies."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._bases: dict[str, Path] = {}
        self._loaded: set[str] = set()

    def base(self, name: str | None) -> Path | None:
        """The state folder at the end of the story `name`, told once without a kill."""
        if name is None:
            return None
        if name not in self._bases:
            run = self.tell(name)
            assert not run.wrong, f"{name}: {run.wrong}"
            copy = self._ground.folder / f"base-{len(self._bases)}"
            shutil.copytree(self._ground.state, copy, symlinks=True)
            self._bases[name] = copy
        return self._bases[name]

    def points(self, name: str) -> list[str]:
        """The points that the story passes when nobody is killed, in order."""
        run = self.tell(name)
        assert not run.wrong, f"{name}: {run.wrong}"
        return self._ground.passed()[0]

    def tell(self, name: str, *targets: str) -> Run:
        """Tell a story; the first life ends at the first target, the second at the next, and so on."""
        story, ground = STORIES[name], self._ground
        base = self.base(story.base)
        ground.fresh(base, story.extra, story.runtime)
        waiting, wrong = list(targets[1:]), list[str]()
        original = ground.start

        def start(target: str | None = None) -> None:
            original(target if target is not None else waiting.pop(0) if waiting else None)

        def at_death() -> None:
            wrong.extend(self._look(base is not None))

        ground.start, ground.at_death = start, at_death  # type: ignore[method-assign]
        try:
            ground.start(targets[0] if targets else None)
            story.act(ground)
            ground.until(lambda: is_over(ground, story), f"the end of {name}")
            while ground.stop() != 0:
                waiting.clear()
                at_death()
                ground.start()
                ground.until(lambda: is_over(ground, story), f"the end of {name}")
        except AssertionError as error:
            wrong.append(f"it does not end: {error}")
            ground.stop()
        finally:
            ground.start, ground.at_death = original, Ground.at_death.__get__(ground)  # type: ignore[method-assign]
        wrong += self._judge(story)
        reached = bool(targets) and any(lines and lines[-1] == targets[0] for lines in ground.passed())
        refetched = sum(number - 1 for number in ground.served.values())
        return Run(name, targets[0] if targets else None, reached, len(ground.lives), refetched, tuple(wrong))

    def _look(self, has_version: bool) -> list[str]:
        """Between two lives: what the application has is whole, and loads."""
        link = self._ground.state / "models" / MODEL / "current"
        if not link.is_symlink():
            removed = self._ground.states("d3") == [] and has_version and (self._ground.state / "models" / MODEL).is_dir()
            return ["the application has nothing"] if removed and running(self._ground.state) is None and self._is_wanted() else []
        return self._load(link)

    def _is_wanted(self) -> bool:
        record = JournalFile(self._ground.state).load().models.get(MODEL)
        return record is not None and record.wanted is not None

    def _load(self, link: Path) -> list[str]:
        try:
            with check_folder(link.resolve(strict=True), trusted_keys(self._ground.state)).open() as runner:
                assert runner.inputs
        except Exception as error:
            return [f"the active engine does not load: {type(error).__name__}: {error}"]
        return []

    def _judge(self, story: Story) -> list[str]:
        """At the end, with nobody running."""
        ground, state = self._ground, self._ground.state
        wrong = [f"{name} was told in two ways" for name in ground.contradictions]
        for deployment, end in story.ends.items():
            wrong += _judge_states(deployment, ground.states(deployment), story.begins, end)
        if running(state) != story.runs:
            wrong.append(f"{running(state)} runs instead of {story.runs}")
        elif story.runs is not None:
            wrong += self._load(state / "models" / MODEL / "current")
        wrong += self._leaks(state)
        refetched = sum(number - 1 for number in ground.served.values())
        if refetched > WINDOW:
            wrong.append(f"{refetched} chunks were fetched twice")
        return wrong

    def _leaks(self, state: Path) -> list[str]:
        """Files that nothing needs."""
        found = [str(path.relative_to(state)) for pattern in ("work/*", "partial/*", "outbox/*", "profiles/*.json") for path in state.glob(pattern)]
        found += [str(path.relative_to(state)) for path in state.rglob("*.tmp")]
        journal = JournalFile(state).load()
        orders: list[Order] = []
        for record in journal.models.values():
            orders += [record.proven.order] if record.proven is not None else []
            orders += [record.wanted] if record.wanted is not None and record.wanted.deployment != record.settled else []
        needed = {blob.digest for order in orders for blob in walk_blobs(order.model)}
        found += [f"blob {path.name[:8]}" for path in (state / "blobs").iterdir() if path.name not in needed]
        slots = ModelSlots(state, MODEL).read()
        engines = {slot.folder for slot in (slots.active, slots.previous, slots.trial) if slot is not None}
        folder = state / "models" / MODEL / "engines"
        found += [f"engine {path.name}" for path in (folder.iterdir() if folder.is_dir() else ()) if path.name not in engines]
        return [f"left over: {', '.join(found)}"] if found else []


def _judge_states(deployment: str, states: list[str], begins: str, end: str) -> list[str]:
    """A walk through the table, without a gap, each activation once, to the one right end."""
    if not states or states[-1] != end:
        return [f"{deployment} ended {states[-1:] or 'nowhere'} instead of {end}"]
    wrong = [] if states[0] == begins else [f"{deployment} was first told as {states[0]}"]
    for before, after in itertools.pairwise(states):
        if after not in TRANSITIONS[before].values():  # type: ignore[index]
            wrong.append(f"{deployment} went from {before} to {after}")
    if states.count("ACTIVATING") > 1:
        wrong.append(f"{deployment} was activated {states.count('ACTIVATING')} times")
    return wrong


def encode_run(run: Run) -> bytes:
    return msgspec.json.encode(run)
