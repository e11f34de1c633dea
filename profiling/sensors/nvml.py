"""NVIDIA graphics cards through NVML: the energy counter (Volta and later), else the power reading.

Loaded by ctypes, so that nothing has to be installed. On Jetson ``nvmlInit`` and the device count succeed while power and energy answer
NotSupported: only a reading that came is believed. A power reading of Ampere and later is a one-second average.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..sensor import Rail, Readings, Traits
from ..sysfs import Sysfs

_LIBRARY = "libnvidia-ml.so.1"
_OK = 0
MAX_CARDS = 64
Kind = Literal["energy", "power"]


@dataclass(frozen=True, slots=True)
class _Card:
    handle: ctypes.c_void_p
    kind: Kind


@dataclass(slots=True)
class NvmlReadings:
    """Millijoules since the driver was loaded, or milliwatts."""

    library: Any
    cards: list[tuple[Rail, _Card | None]]
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)

    def read(self) -> list[float | None]:
        row = [None if card is None or self.library is None else _value(self.library, card.handle, card.kind) for _, card in self.cards]
        for value, (rail, _) in zip(row, self.cards, strict=True):
            if value is None:
                self.faults[rail.key, "failed"] += 1
        return row

    def close(self) -> None:
        if self.library is not None:
            self.library.nvmlShutdown()
            self.library = None


class Nvml:
    """The `Sensor` of NVIDIA graphics cards."""

    is_last_resort = False

    def unavailable(self, tree: Sysfs) -> str | None:
        if not tree.is_this_machine:
            return "NVML is not asked below another root: it would answer for this machine"
        library = _load()
        if library is None:
            return f"{_LIBRARY} is not here, or the driver does not run: no NVIDIA graphics card"
        try:
            return None if _cards(library) else "NVML is here, but gives neither energy nor power (Jetson: use the INA3221)"
        finally:
            library.nvmlShutdown()

    def rails(self, tree: Sysfs) -> tuple[Rail, ...]:
        library = _load()
        if library is None:
            return ()
        try:
            cards = _cards(library)
        finally:
            library.nvmlShutdown()
        return tuple(_rail(index, card, alone=len(cards) == 1) for index, card in cards.items())

    def open(self, tree: Sysfs, rails: Sequence[Rail]) -> Readings:
        library = _load()
        cards = _cards(library) if library is not None else {}
        by_key = {_rail(index, card, alone=True).key: card for index, card in cards.items()}
        return NvmlReadings(library, [(rail, by_key.get(rail.key)) for rail in rails])


def _rail(index: int, card: _Card, *, alone: bool) -> Rail:
    # The counter moves about every 100 ms; a power reading since Ampere is the mean of a second, on average half a second old.
    traits = Traits(filter_s=0.0) if card.kind == "energy" else Traits(filter_s=0.5, filter_error=0.5)
    return Rail(f"nvml/{index}", f"GPU {index}", "nvml", traits, card.kind, "gpu" if alone else None)


def _load() -> Any:
    try:
        library = ctypes.CDLL(_LIBRARY)
        return library if library.nvmlInit_v2() == _OK else None
    except (OSError, AttributeError):
        return None


def _cards(library: Any) -> dict[int, _Card]:
    """The cards that answer with a number, by index."""
    count = ctypes.c_uint()
    if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != _OK:
        return {}
    found = {}
    for index in range(min(count.value, MAX_CARDS)):
        handle = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)) != _OK:
            continue
        kinds: tuple[Kind, ...] = ("energy", "power")
        kind = next((kind for kind in kinds if _value(library, handle, kind) is not None), None)
        if kind is not None:
            found[index] = _Card(handle, kind)
    return found


def _value(library: Any, handle: ctypes.c_void_p, kind: Kind) -> float | None:
    value: ctypes.c_ulonglong | ctypes.c_uint
    if kind == "energy":
        value, function = ctypes.c_ulonglong(), library.nvmlDeviceGetTotalEnergyConsumption
    else:
        value, function = ctypes.c_uint(), library.nvmlDeviceGetPowerUsage
    return float(value.value) if function(handle, ctypes.byref(value)) == _OK else None


SENSOR = Nvml()
