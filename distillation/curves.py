"""Loss curves as SVG: every term of the loss over the epochs, and the score on held-out samples. Plain text, no library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from ..profiling.plot import ticks
from .record import History

WIDTH, HEIGHT = 1000, 560
_LEFT, _RIGHT, _GAP = 70, 20, 40
_PANEL = (HEIGHT - 3 * _GAP) / 2
_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999933")


def svg_of(history: History, title: str) -> str:
    """A complete SVG document; empty panels before the first epoch."""
    epochs = [entry.number for entry in history.epochs]
    curves = [("loss", [entry.loss for entry in history.epochs])]
    if len(history.losses) > 1:
        curves += [(name, [entry.parts[index] for entry in history.epochs]) for index, name in enumerate(history.losses)]
    word = "agreement on held-out samples" if history.measure == "agreement" else "dB on held-out samples"
    finish = next((entry.number for entry in history.epochs if entry.is_quantized), None)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            f'<text x="{_LEFT}" y="22" font-size="15">{escape(title)}</text>',
            *_panel(_GAP, epochs, curves, finish),
            *_panel(2 * _GAP + _PANEL, epochs, [(word, [entry.score for entry in history.epochs])], finish),
            "</svg>",
            "",
        ]
    )


def _panel(top: float, epochs: Sequence[int], curves: Sequence[tuple[str, Sequence[float]]], finish: int | None) -> list[str]:
    values = [value for _, curve in curves for value in curve if math.isfinite(value)]
    low, high = min([0.0, *values]), max(values, default=1.0)
    high = high if high > low else low + 1
    last = max([2, *epochs])

    def x(epoch: float) -> float:
        return _LEFT + (epoch - 1) / (last - 1) * (WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return top + _PANEL - (value - low) / (high - low) * _PANEL

    parts = []
    for value in ticks(low, high):
        parts.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    parts += [
        f'<text x="{x(epoch):.1f}" y="{top + _PANEL + 16:.1f}" text-anchor="middle">{epoch:g}</text>'
        for epoch in ticks(1, last)
        if epoch == int(epoch)
    ]
    if finish is not None:
        parts.append(f'<line x1="{x(finish):.1f}" x2="{x(finish):.1f}" y1="{top}" y2="{top + _PANEL}" stroke="#999" stroke-dasharray="4"/>')
        parts.append(f'<text x="{x(finish) + 4:.1f}" y="{top + 12}">fake quantisation</text>')
    for index, (name, curve) in enumerate(curves):
        colour = _COLOURS[index % len(_COLOURS)]
        points = " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in zip(epochs, curve, strict=True) if math.isfinite(value))
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>')
        parts.append(f'<text x="{_LEFT + 8 + 180 * (index % 5)}" y="{top - 6 + 14 * (index // 5)}" fill="{colour}">{escape(name)}</text>')
    return parts
