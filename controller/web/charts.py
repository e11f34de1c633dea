"""Charts as SVG, made here: nothing for a browser to compute or load. Colours are classes of the style sheet, so they follow its light and dark.

Every text goes through `escape`: devices wrote parts of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

WIDTH, HEIGHT = 560, 260
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 14, 44
MAX_POINTS = 600
SERIES = 6


@dataclass(frozen=True, slots=True)
class Line:
    """One series: points of (x, y), y None where nothing was measured, and the line has a gap."""

    name: str
    points: Sequence[tuple[float, float | None]]


@dataclass(frozen=True, slots=True)
class Dot:
    """One point of a scatter chart. `group` chooses colour and shape; `is_best` is drawn full and joined to the others that are."""

    x: float
    y: float
    group: int
    words: str
    is_best: bool
    is_marked: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a bar: a name, a number, and the style sheet's word for its colour."""

    name: str
    count: int
    kind: str


@dataclass(frozen=True, slots=True)
class _Axis:
    """A range of values on a range of pixels."""

    low: float
    high: float
    first: float
    last: float

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.first + share * (self.last - self.first)


def line_chart(lines: Sequence[Line], unit: str, label: str, *, is_time: bool = True) -> Markup:
    """Lines over time (UNIX seconds), or over plain seconds. Empty where no series has two points."""
    known = [line for line in lines if sum(y is not None for _, y in line.points) > 1]
    if not known:
        return Markup()
    xs = [x for line in known for x, _ in line.points]
    ys = [y for line in known for _, y in line.points if y is not None]
    across, up = _axis(min(xs), max(xs), LEFT, WIDTH - RIGHT), _up(min(0.0, *ys), max(ys))
    marks = _time_marks(across) if is_time else [(value, f"{value:g} s") for value in _ticks(across.low, across.high)]
    parts = [*_frame(across, up, marks, unit), *(_polyline(line, number, across, up) for number, line in enumerate(known[:SERIES]))]
    return _svg(parts, label, _legend([line.name for line in known[:SERIES]]))


def scatter_chart(dots: Sequence[Dot], groups: Sequence[str], x_words: str, y_words: str, label: str) -> Markup:
    """Dots, those of one group joined where they are best: a Pareto front. Empty without dots."""
    if not dots:
        return Markup()
    ys = [dot.y for dot in dots]
    pad = 0.12 * ((max(ys) - min(ys)) or 1.0)
    across, up = _axis(0.0, 1.08 * max(dot.x for dot in dots), LEFT, WIDTH - RIGHT), _axis(min(ys) - pad, max(ys) + pad, HEIGHT - BOTTOM, TOP)
    marks = [(value, f"{value:g}") for value in _ticks(across.low, across.high)]
    parts = [*_frame(across, up, marks, y_words), _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_words, "middle", "axis")]
    for number in range(len(groups)):
        best = sorted((dot.x, dot.y) for dot in dots if dot.group == number and dot.is_best)
        if len(best) > 1:
            path = " ".join(f"{across.at(x):.1f},{up.at(y):.1f}" for x, y in best)
            parts.append(f'<polyline class="front s{number % SERIES}" points="{path}"/>')
    parts += [_dot(dot, across, up) for dot in dots]
    return _svg(parts, label, _legend(groups))


def stacked_bar(parts: Sequence[Part], label: str) -> Markup:
    """Parts of a whole in one bar, as wide as there is room."""
    total, x, drawn = sum(part.count for part in parts), 0.0, []
    for part in parts:
        if part.count and total:
            width = 100 * part.count / total
            drawn.append(f'<rect class="{part.kind}" x="{x:.3f}%" y="0" width="{width:.3f}%" height="100%"><title>{_words(part)}</title></rect>')
            x += width
    words = ", ".join(f"{part.count} {part.name}" for part in parts if part.count) or "nothing yet"
    return Markup(f'<svg class="bar" role="img" aria-label="{escape(label)}: {escape(words)}">{"".join(drawn)}</svg>')  # noqa: S704 - escaped


def share_bar(value: float, most: float, kind: str) -> Markup:
    """One number as a length beside others."""
    width = 0.0 if most <= 0 else 100 * value / most
    return Markup(f'<svg class="length" aria-hidden="true"><rect class="{kind}" x="0" y="0" width="{width:.2f}%" height="100%" rx="2"/></svg>')  # noqa: S704 - numbers


def _words(part: Part) -> str:
    return str(escape(f"{part.count} {part.name}"))


def _svg(parts: Sequence[str], label: str, legend: str) -> Markup:
    head = f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
    return Markup(f"<figure>{head}{''.join(parts)}</svg>{legend}</figure>")  # noqa: S704 - escaped


def _legend(names: Sequence[str]) -> str:
    if len(names) < 2:
        return ""
    items = "".join(f'<li class="s{number % SERIES}">{escape(name)}</li>' for number, name in enumerate(names))
    return f'<figcaption><ul class="legend">{items}</ul></figcaption>'


def _frame(across: _Axis, up: _Axis, marks: Sequence[tuple[float, str]], unit: str) -> Iterator[str]:
    for value in _ticks(min(up.low, up.high), max(up.low, up.high)):
        y = up.at(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield _text(LEFT - 8, y + 4, f"{value:g}", "end")
    for value, words in marks:
        yield _text(across.at(value), HEIGHT - BOTTOM + 18, words, "middle")
    yield f'<text class="axis" transform="translate(13 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">{escape(unit)}</text>'


def _text(x: float, y: float, words: str, anchor: str, kind: str = "tick") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _polyline(line: Line, number: int, across: _Axis, up: _Axis) -> str:
    """One path, broken where nothing was measured; thinned so that each pixel still has its extremes."""
    path, is_down = [], False
    for x, y in _thinned(line.points):
        if y is not None:
            path.append(f"{'L' if is_down else 'M'}{across.at(x):.1f} {up.at(y):.1f}")
        is_down = y is not None
    return f'<path class="line s{number % SERIES}" d="{"".join(path)}"><title>{escape(line.name)}</title></path>'


def _thinned(points: Sequence[tuple[float, float | None]]) -> Iterator[tuple[float, float | None]]:
    step = max(1, math.ceil(len(points) / (MAX_POINTS / 2)))
    if step == 1:
        yield from points
        return
    for start in range(0, len(points), step):
        part = points[start : start + step]
        known = [(x, y) for x, y in part if y is not None]
        yield from sorted({min(known, key=lambda one: one[1]), max(known, key=lambda one: one[1])}) if known else part[:1]


def _dot(dot: Dot, across: _Axis, up: _Axis) -> str:
    kind = f"dot s{dot.group % SERIES}" + (" best" if dot.is_best else "")
    x, y = across.at(dot.x), up.at(dot.y)
    ring = f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="11"/>' if dot.is_marked else ""
    is_right = x < WIDTH - 150
    name = _text(x + (14 if is_right else -14), y + (5 if dot.is_marked else -8), dot.words.partition(":")[0], "start" if is_right else "end", "name")
    return f'<g>{ring}<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="6"/><title>{escape(dot.words)}</title>{name}</g>'


def _axis(low: float, high: float, first: float, last: float) -> _Axis:
    return _Axis(low, high if high > low else low + 1.0, first, last)


def _up(low: float, high: float) -> _Axis:
    """From the bottom to the top, with room above."""
    return _axis(low, high + 0.08 * ((high - low) or abs(high) or 1.0), HEIGHT - BOTTOM, TOP)


def _ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers inside the range."""
    step = 10 ** math.floor(math.log10((high - low) / wanted))
    for factor in (1, 2, 5, 10):
        if (high - low) / (step * factor) <= wanted:
            step *= factor
            break
    first = math.ceil(low / step)
    return [round((first + number) * step, 12) for number in range(math.floor(high / step) - first + 1)]


def _time_marks(across: _Axis) -> list[tuple[float, str]]:
    """Five moments, as UTC; with the date where they are of several days."""
    form = "%H:%M" if across.high - across.low < 86400 else "%d %b"
    count = 5
    values = [across.low + (index + 0.5) * (across.high - across.low) / count for index in range(count)]
    words = [time.strftime(form, time.gmtime(value)) for value in values]
    return [(values[0], words[0]), *((value, word) for (_, before), (value, word) in pairwise(zip(values, words, strict=True)) if word != before)]
