"""Timing variants: within the seconds, in groups, and nothing is lost."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

import pytest
from edgewright.compression.network import Geometry
from edgewright.compression.search.bench import GROUP, Bench, measure_variants
from edgewright.compression.search.costs import CostTable
from edgewright.compression.search.plan import Variant
from edgewright.core.costs import Cost
from edgewright.core.errors import Rejected, Unfit
from edgewright.profiling.energy_run import measure_energy

VARIANTS = tuple(Variant((Geometry(8, 8 * count, 1, (1, 1), (1, 1), (1, 1), (0,) * 4),), (4, 4), "float") for count in range(1, 2 * GROUP + 2))


@contextmanager
def opened(model):
    del model
    yield lambda: sum(range(2000))


def test_every_variant_gets_a_cost(tmp_path):
    table = CostTable("here", tmp_path / "costs.json")

    found = measure_variants(VARIANTS, table, Bench(opened), seconds=60, progress=lambda *_: None)

    assert (found.new, found.left, found.refused) == (len(VARIANTS), 0, ())
    assert all(table.get(variant).ms > 0 for variant in VARIANTS)
    assert len(CostTable.load("here", tmp_path / "costs.json")) == len(VARIANTS)


def test_what_is_known_is_not_measured_again():
    table = CostTable("here")
    table.add({VARIANTS[0]: Cost(ms=7.0, spread_ms=0.0)})

    found = measure_variants(VARIANTS[:2], table, Bench(opened), seconds=60, progress=lambda *_: None)

    assert found.new == 1
    assert table.get(VARIANTS[0]).ms == 7.0


def test_no_seconds_measure_one_group_at_most():
    table = CostTable("here")

    found = measure_variants(VARIANTS, table, Bench(opened), seconds=0, progress=lambda *_: None)

    assert found.left == len(VARIANTS) - found.new
    assert len(table) == found.new <= GROUP


def test_no_more_than_the_most_are_measured():
    found = measure_variants(VARIANTS, CostTable("here"), Bench(opened, most=3), seconds=60, progress=lambda *_: None)

    assert found.new == 3


def test_a_cancelled_run_keeps_what_was_measured(tmp_path):
    table = CostTable("here", tmp_path / "costs.json")
    turns = iter([False] * 2)

    with pytest.raises(Unfit) as caught:
        measure_variants(
            VARIANTS, table, Bench(opened, cancel=lambda: len(table) >= GROUP and next(turns, True)), seconds=60, progress=lambda *_: None
        )
    assert caught.value.code == "cancelled"
    assert len(CostTable.load("here", tmp_path / "costs.json")) >= GROUP


def test_what_the_backend_cannot_run_is_said_and_left_out():
    @contextmanager
    def refuses(model):
        if model.graph.initializer[0].dims[0] == 16:
            raise Rejected("operator-unsupported", "no such operator", "Export it again")
        yield lambda: None

    table = CostTable("here")
    found = measure_variants(VARIANTS[:4], table, Bench(refuses), seconds=60, progress=lambda *_: None)

    assert found.refused == (VARIANTS[1],)
    assert table.get(VARIANTS[1]) is None
    assert found.new == 3


def test_energy_is_told_where_a_sensor_tells_it():
    table = CostTable("here")

    measure_variants(VARIANTS[:1], table, Bench(opened, energy=lambda _call: 3.5), seconds=60, progress=lambda *_: None)

    assert table.get(VARIANTS[0]).energy_mj == 3.5


def test_the_energy_of_a_layer_is_read_from_the_board_s_own_rails(load_fake, tmp_path):
    boards = load_fake("power_boards")
    boards.hwmon_ina3221(tmp_path, "1-0040", 1, [("VDD_IN", 5000, 1000), None, None], samples=1)
    boards.device_tree(tmp_path, "nvidia,p3768-0000+p3767-0005", "nvidia,tegra234")
    table = CostTable("here")

    def energy(call):
        found = measure_energy(call, seconds=0.3, root=tmp_path, idle_s=0.0).energy
        return None if found is None else found.mean

    measure_variants(VARIANTS[:1], table, Bench(lambda _model: nullcontext(lambda: sum(range(2000))), energy), seconds=60, progress=lambda *_: None)

    cost = table.get(VARIANTS[0])
    # Five watts for as long as a call takes, the loop around it included.
    assert cost.energy_mj > 5 * cost.ms * 0.5
