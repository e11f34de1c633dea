"""Everything here that measures power: which sensors are usable, which rails they have, what these add up to; and reads them together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from typing_extensions import Self

from ..core.errors import EdgewrightError
from .board import Board, read_board
from .power_config import PowerConfig, read_power_config
from .sensor import Rail, Readings, load_sensor, sensor_names
from .sysfs import Sysfs
from .totals import Total, Totals, find_totals

# Whose filter constant `filter_s` in power.toml is: the board's own monitor.
_OWNER_MEASURES = {"ina3221", "ina3221x", "tegrastats"}


@dataclass(frozen=True, slots=True)
class SensorStatus:
    """One sensor: usable, or the reason why not."""

    name: str
    reason: str | None

    @property
    def is_usable(self) -> bool:
        return self.reason is None


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found below a root."""

    tree: Sysfs
    board: Board
    config: PowerConfig
    statuses: tuple[SensorStatus, ...]
    rails: tuple[Rail, ...]
    totals: Totals

    def rail(self, key: str) -> Rail:
        return next(rail for rail in self.rails if rail.key == key)

    def filter_s(self, key: str) -> float | None:
        """The rail's filter constant: as the owner measured it, else as its driver says; None when nobody knows."""
        rail = self.rail(key)
        if rail.sensor in _OWNER_MEASURES and self.config.filter_s is not None:
            return self.config.filter_s
        return rail.traits.filter_s

    def rails_of(self, total: Total) -> tuple[Rail, ...]:
        return tuple(self.rail(key) for key in total.rails)


def survey_power(root: Path = Path("/"), tree: Sysfs | None = None) -> Survey:
    """Ask every sensor. A power.toml that is wrong means no total, and the reason says what is wrong in it."""
    tree = tree or Sysfs(root)
    board = read_board(tree.root)
    statuses = sensor_statuses(tree)
    rails: list[Rail] = []
    usable = [load_sensor(status.name) for status in statuses if status.is_usable]
    for sensor in sorted(usable, key=lambda sensor: sensor.is_last_resort):
        if not (rails and sensor.is_last_resort):
            rails += sensor.rails(tree)
    try:
        config = read_power_config(tree)
    except EdgewrightError as error:
        return Survey(tree, board, PowerConfig(), statuses, tuple(rails), Totals(None, error.reason.line()))
    totals = find_totals(board, rails, config.total)
    if not rails and totals.main is None:
        totals = Totals(None, no_sensor_reason(statuses), totals.others)
    return Survey(tree, board, config, statuses, tuple(rails), totals)


def sensor_statuses(tree: Sysfs) -> tuple[SensorStatus, ...]:
    """Every sensor found in the folder, for ``doctor`` and for reports."""
    return tuple(SensorStatus(name, _unavailable(name, tree)) for name in sensor_names())


def _unavailable(name: str, tree: Sysfs) -> str | None:
    try:
        return load_sensor(name).unavailable(tree)
    except EdgewrightError as error:
        return error.reason.line()


def no_sensor_reason(statuses: Sequence[SensorStatus]) -> str:
    """One sentence of what is missing."""
    details = "; ".join(f"{status.name}: {status.reason}" for status in statuses if status.reason)
    return f"this machine has no usable power sensor ({details})" if details else "this machine has no power sensor"


@dataclass(slots=True)
class RailReader:
    """Reads chosen rails of several sensors as one row, in the order of `rails`."""

    rails: tuple[Rail, ...]
    opened: list[tuple[Readings, tuple[int, ...]]] = field(default_factory=list)

    @property
    def faults(self) -> Counter[tuple[str, str]]:
        found: Counter[tuple[str, str]] = Counter()
        for readings, _ in self.opened:
            found.update(readings.faults)
        return found

    def read(self) -> list[float | None]:
        if len(self.opened) == 1:
            return list(self.opened[0][0].read())
        row: list[float | None] = [None] * len(self.rails)
        for readings, places in self.opened:
            for place, value in zip(places, readings.read(), strict=True):
                row[place] = value
        return row

    def close(self) -> None:
        for readings, _ in self.opened:
            readings.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_rails(survey: Survey, rails: Sequence[Rail]) -> RailReader:
    """Open the sensors of `rails`; closing the reader closes them."""
    by_sensor: dict[str, list[int]] = {}
    for index, rail in enumerate(rails):
        by_sensor.setdefault(rail.sensor, []).append(index)
    reader = RailReader(tuple(rails))
    try:
        for name, places in by_sensor.items():
            readings = load_sensor(name).open(survey.tree, [rails[place] for place in places])
            reader.opened.append((readings, tuple(places)))
    except EdgewrightError:
        reader.close()
        raise
    return reader
