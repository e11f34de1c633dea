"""NVML by a library of the same functions: a card with a counter, one with power alone, and a Jetson that answers NotSupported."""

from __future__ import annotations

import pytest
from edgewright.profiling.sensors import nvml
from edgewright.profiling.sysfs import Sysfs

NOT_SUPPORTED = 3


class Library:
    """Cards as (millijoules or None, milliwatts or None)."""

    def __init__(self, cards, init=0):
        self.cards, self.init, self.shut = cards, init, 0

    def nvmlInit_v2(self):  # noqa: N802 - NVML's name
        return self.init

    def nvmlShutdown(self):  # noqa: N802
        self.shut += 1

    def nvmlDeviceGetCount_v2(self, count):  # noqa: N802
        count._obj.value = len(self.cards)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index, handle):  # noqa: N802
        handle._obj.value = index.value + 1
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, value):  # noqa: N802
        return self._answer(handle, value, 0)

    def nvmlDeviceGetPowerUsage(self, handle, value):  # noqa: N802
        return self._answer(handle, value, 1)

    def _answer(self, handle, value, which):
        found = self.cards[handle.value - 1][which]
        if found is None:
            return NOT_SUPPORTED
        value._obj.value = found
        return 0


@pytest.fixture
def load(monkeypatch):
    def use(cards, init=0):
        library = Library(cards, init)
        monkeypatch.setattr(nvml.ctypes, "CDLL", lambda _name: library)
        return library

    return use


def test_a_card_s_counter_is_preferred_to_its_power(load):
    load([(123_456, 70_000), (None, 35_000)])
    rails = nvml.SENSOR.rails(Sysfs())
    readings = nvml.SENSOR.open(Sysfs(), rails)

    assert [(rail.label, rail.quantity) for rail in rails] == [("GPU 0", "energy"), ("GPU 1", "power")]
    assert readings.read() == [123_456, 35_000]
    assert [rail.covers for rail in rails] == [None, None]


def test_a_jetson_whose_library_starts_but_measures_nothing_is_not_usable(load):
    library = load([(None, None)])

    assert "neither energy nor power" in nvml.SENSOR.unavailable(Sysfs())
    assert library.shut == 1


def test_a_driver_that_does_not_run_is_a_reason(load):
    load([], init=9)

    assert "driver does not run" in nvml.SENSOR.unavailable(Sysfs())


def test_a_card_that_fell_off_the_bus_is_a_gap(load):
    library = load([(1, 1)])
    rails = nvml.SENSOR.rails(Sysfs())
    readings = nvml.SENSOR.open(Sysfs(), rails)
    library.cards[0] = (None, None)

    assert readings.read() == [None]
    assert readings.faults["nvml/0", "failed"] == 1
    readings.close()
    readings.close()
    assert readings.read() == [None]
