"""Draws a trace as SVG: rails over time, the windows of inference shaded behind them. Plain text, no library; opens in any browser."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from ..core.trace import Trace

WIDTH, HEIGHT = 1000, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 40, 70
# Okabe and Ito's palette: told apart by colour-blind eyes too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
_WINDOW_COLOUR = "#F0E442"
_MAX_POINTS = 4000


def svg_of(trace: Trace, title: str = "Power by rail") -> str:
    """A complete SVG document."""
    span_us = max(1, trace.times_us[-1] - trace.times_us[0]) if trace.times_us else 1
    begin_us = trace.times_us[0] if trace.times_us else 0
    known = [value for column in trace.values_mw for value in column if value is not None]
    low, high = min(0, *known) if known else 0, max(known, default=1000)
    high = high if high > low else low + 1000

    def x(time_us: float) -> float:
        return _LEFT + (time_us - begin_us) / span_us * (WIDTH - _LEFT - _RIGHT)

    def y(power_mw: float) -> float:
        return HEIGHT - _BOTTOM - (power_mw - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="15">{escape(title)}</text>',
    ]
    for window in trace.windows:
        left, right = x(max(window.start_us, begin_us)), x(min(window.end_us, begin_us + span_us))
        name = window.name if window.inferences is None else f"{window.name}: {window.inferences} inferences"
        parts.append(
            f'<rect x="{left:.1f}" y="{_TOP}" width="{max(0.5, right - left):.1f}" height="{HEIGHT - _TOP - _BOTTOM}" '
            f'fill="{_WINDOW_COLOUR}" fill-opacity="0.3"><title>{escape(name)}</title></rect>'
        )
    parts += _grid(low, high, span_us, x, y, begin_us)
    for index, (rail, column) in enumerate(zip(trace.rails, trace.values_mw, strict=True)):
        colour = _COLOURS[index % len(_COLOURS)]
        parts += [
            f'<polyline fill="none" stroke="{colour}" stroke-width="1.2" points="{points}"/>'
            for points in _lines([(x(time_us), None if value is None else y(value)) for time_us, value in zip(trace.times_us, column, strict=True)])
        ]
        place = _LEFT + (index % 5) * 180, HEIGHT - 26 + 16 * (index // 5)
        parts.append(f'<rect x="{place[0]}" y="{place[1] - 9}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{place[0] + 14}" y="{place[1]}">{escape(rail.label[:22])}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _grid(low: float, high: float, span_us: int, x: object, y: object, begin_us: int) -> Iterator[str]:
    assert callable(x)
    assert callable(y)
    for power_mw in ticks(low, high):
        yield f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(power_mw):.1f}" y2="{y(power_mw):.1f}" stroke="#ddd"/>'
        yield f'<text x="{_LEFT - 6}" y="{y(power_mw) + 4:.1f}" text-anchor="end">{power_mw / 1000:g} W</text>'
    for second in ticks(0, span_us / 1e6):
        place = x(begin_us + second * 1e6)
        yield f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}" stroke="#eee"/>'
        yield f'<text x="{place:.1f}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">{second:g} s</text>'


def ticks(low: float, high: float, wanted: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, about `wanted` of them."""
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first = math.ceil(low / step)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _lines(points: list[tuple[float, float | None]]) -> Iterator[str]:
    """Stretches without a gap, thinned to what a screen can show."""
    step = max(1, math.ceil(len(points) / _MAX_POINTS))
    line: list[str] = []
    for left, top in points[::step]:
        if top is not None:
            line.append(f"{left:.1f},{top:.1f}")
        elif line:
            yield " ".join(line)
            line = []
    if line:
        yield " ".join(line)
