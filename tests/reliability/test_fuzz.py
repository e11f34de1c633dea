"""Every parser of something from outside answers, or raises an error of its own. ``make fuzz`` does a million of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SPOILT = 300


@pytest.fixture(scope="module")
def parsers(faults: Callable[[str], ModuleType]) -> Iterator[dict[str, Any]]:
    with faults("parsers").all_parsers() as found:
        yield found


@pytest.mark.filterwarnings("ignore")
def test_spoilt_inputs_raise_nothing_else(parsers: dict[str, Any], faults: Callable[[str], ModuleType]) -> None:
    for parser in parsers.values():
        assert faults("parsers").fuzz(parser, faults("parsers").spoilt(parser, 7, SPOILT)) == SPOILT


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200), seed=st.integers(0, 10**6))
def test_whatever_hypothesis_thinks_of_raises_nothing_else(
    parsers: dict[str, Any], faults: Callable[[str], ModuleType], data: bytes, seed: int
) -> None:
    chance = random.Random(seed)
    for parser in parsers.values():
        good = bytearray(chance.choice(parser.seeds))
        place = chance.randrange(len(good) + 1)
        good[place : place + chance.randrange(20)] = data
        faults("parsers").fuzz(parser, [data, bytes(good)])


def test_good_inputs_are_taken(parsers: dict[str, Any]) -> None:
    """Otherwise nothing behind the first check would be reached. A trust anchor needs two files, of which this is one."""
    for name, parser in parsers.items():
        for seed in parser.seeds:
            if name not in {"trust anchor", "power mode's journal"}:
                parser.parse(seed)


def test_a_parser_that_raises_something_else_is_found(faults: Callable[[str], ModuleType]) -> None:
    module = faults("parsers")
    with pytest.raises(AssertionError, match="KeyError"):
        module.fuzz(module.Parser({}.__getitem__, (b"x",)), [b"x"])


def test_a_parser_that_hangs_is_found(faults: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    module = faults("parsers")
    monkeypatch.setattr(module, "HANG_S", 0.02)

    def hang(_data: bytes) -> None:
        while True:
            pass

    with pytest.raises(AssertionError, match="Hang"):
        module.fuzz(module.Parser(hang, (b"x",)), [b"x"])
