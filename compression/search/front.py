"""The Pareto front of measured networks over latency, fidelity, energy and size, and its picture as SVG: plain text, no library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from msgspec.structs import replace

from ...core.search import Point
from ...profiling.plot import ticks

WIDTH, HEIGHT = 820, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 160, 50, 60
_NAME_WIDTH, _NAME_HEIGHT = 110, 13
_ON, _OFF, _REFUSED = "#0072B2", "#999999", "#D55E00"


def with_front(points: Sequence[Point]) -> tuple[Point, ...]:
    """The same points; those that no other beats in every measured respect are on the front."""
    return tuple(replace(point, is_on_front=not any(_beats(other, point) for other in points)) for point in points)


def infidelity(point: Point) -> float:
    """One number for the plot and the front: the share of decisions that changed, or the noise's share of the output; 0 is the original."""
    if point.agreement is not None:
        return 1 - point.agreement
    return 0.0 if point.sqnr_db is None else float(10 ** (-point.sqnr_db / 10))


def _beats(other: Point, point: Point) -> bool:
    mine, others = _respects(point), _respects(other)
    pairs = [(a, b) for a, b in zip(others, mine, strict=True) if a is not None and b is not None]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _respects(point: Point) -> tuple[float | None, ...]:
    return point.latency_ms, infidelity(point), point.energy_mj, float(point.size_bytes)


def svg_of(points: Sequence[Point], title: str, infidelity_words: str) -> str:
    """A complete SVG document: latency to the right, what was lost upwards; the front is joined, what the budget refuses is marked."""
    high_x = max(point.latency_ms for point in points) * 1.05
    high_y = max([infidelity(point) for point in points] + [1e-3]) * 1.1

    def x(ms: float) -> float:
        return _LEFT + ms / high_x * (WIDTH - _LEFT - _RIGHT)

    def y(lost: float) -> float:
        return HEIGHT - _BOTTOM - lost / high_y * (HEIGHT - _TOP - _BOTTOM)

    front = sorted((point for point in points if point.is_on_front), key=lambda point: point.latency_ms)
    joined = " ".join(f"{x(point.latency_ms):.1f},{y(infidelity(point)):.1f}" for point in front)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="24" font-size="15">{escape(title)}</text>',
    ]
    for tick in ticks(0, high_x):
        parts.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}" stroke="#eee"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">{tick:g}</text>')
    for tick in ticks(0, high_y):
        parts.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#eee"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    parts += [
        f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 18}" text-anchor="middle">latency, ms</text>',
        f'<text x="{_LEFT}" y="{_TOP - 10}">{escape(infidelity_words)}</text>',
        f'<polyline fill="none" stroke="{_ON}" stroke-width="1.5" points="{joined}"/>',
    ]
    places = [(point, x(point.latency_ms), y(infidelity(point))) for point in points]
    return "\n".join([*parts, *_marks(places), *_legend(), "</svg>", ""])


def _marks(places: Sequence[tuple[Point, float, float]]) -> Iterator[str]:
    """A dot and a name for each point; names that would lie on one another are moved apart."""
    taken: list[tuple[float, float]] = []
    for point, left, top in sorted(places, key=lambda place: (-place[2], place[1])):
        words = f"{point.name}: {point.latency_ms:.3f} ms, {point.size_bytes} bytes" + ("" if point.is_allowed else ", refused by the budget")
        yield f'<circle cx="{left:.1f}" cy="{top:.1f}" r="5" fill="{_colour(point)}"><title>{escape(words)}</title></circle>'
        base = top - 6
        while any(abs(left - other) < _NAME_WIDTH and abs(base - height) < _NAME_HEIGHT for other, height in taken):
            base -= _NAME_HEIGHT
        taken.append((left, base))
        yield f'<text x="{left + 8:.1f}" y="{base:.1f}" fill="{_colour(point)}">{escape(point.name)}</text>'


def _legend() -> Iterator[str]:
    for index, (colour, words) in enumerate(((_ON, "on the front"), (_OFF, "beaten by another"), (_REFUSED, "loses too much"))):
        top = _TOP + 10 + 20 * index
        yield f'<circle cx="{WIDTH - _RIGHT + 20}" cy="{top}" r="5" fill="{colour}"/>'
        yield f'<text x="{WIDTH - _RIGHT + 32}" y="{top + 4}">{words}</text>'


def _colour(point: Point) -> str:
    return _REFUSED if not point.is_allowed else _ON if point.is_on_front else _OFF
