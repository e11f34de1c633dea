"""Plans are timed whole before their weights are fitted."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from edgewright.compression.coupling import couple
from edgewright.compression.network import Network
from edgewright.compression.search.plan import Plan
from edgewright.compression.search.space import Space, Width, sites_of
from edgewright.core.errors import Unfit
from edgewright.pipeline.skeletons import Skeletons
from edgewright.pipeline.spending import MAX_LAYERS_TIMED, Effort, Spending


@dataclass
class Opened:
    """An opener that runs nothing; models with fewer weights than `refused` cannot be opened."""

    backend: str = "onnxruntime"
    refused: int = 0
    weights: list[int] = field(default_factory=list)

    @contextmanager
    def __call__(self, model):
        count = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
        if count < self.refused:
            raise Unfit("build-failed", "too small", "")
        self.weights.append(count)
        yield lambda: None


@pytest.fixture
def space(wide_classifier):
    from edgewright.calibration.normalize import normalized_model

    network = Network(normalized_model(wide_classifier).model)
    coupling = couple(network)
    group = coupling.groups[0]
    width = Width(group.makers, ((), tuple(group.bundles[: len(group.bundles) // 2])), (0.0, 0.1))
    return Space(network, coupling, (width,), sites_of(network, coupling, (width,), {}))


@pytest.fixture
def half(space):
    return Plan({}, {space.widths[0].makers: 1})


def test_a_smaller_network_is_timed_in_turns_with_the_start_and_both_are_counted(space, half):
    opened, spending = Opened(), Spending(Effort(60), lambda *_: None)

    (share,) = Skeletons(space, opened, None, spending, lambda: False).shares([half])

    assert share.value > 0
    assert opened.weights[1] < opened.weights[0]
    assert spending.measured == 2


def test_a_plan_that_the_backend_refuses_has_no_share(space, half):
    opened = Opened()
    Skeletons(space, opened, None, Spending(Effort(60), lambda *_: None), lambda: False).shares([half])
    refusing = Opened(refused=opened.weights[0])

    assert Skeletons(space, refusing, None, Spending(Effort(60), lambda *_: None), lambda: False).shares([half]) == [None]


def test_no_more_is_timed_than_a_search_may(space, half):
    opened, spending = Opened(), Spending(Effort(60), lambda *_: None, measured=298)

    shares = Skeletons(space, opened, None, spending, lambda: False).shares([half] * 3)

    assert [share is None for share in shares] == [False, True, True]
    assert spending.measured == 300


def test_single_layers_leave_room_for_whole_networks():
    assert Spending(Effort(60), lambda *_: None, measured=MAX_LAYERS_TIMED).layers_left == 0
    assert Spending(Effort(60), lambda *_: None, measured=MAX_LAYERS_TIMED).measurements_left > 0


def test_progress_never_goes_back_and_says_what_is_left_at_most():
    notes = []
    spending = Spending(Effort(60), lambda share, note: notes.append((share, note)))

    spending.part(0.0, 0.5)(1.0, "timed")
    spending.part(0.2, 0.4)(0.0, "built")

    assert [share for share, _ in notes] == [0.5, 0.5]
    assert all("at most" in note for _, note in notes)
