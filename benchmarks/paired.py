"""Two ways beside each other, seed by seed: means, intervals of Student's t, and what remains of them when many ways are compared.

Names of runs are ``WAY|SEED``. A difference is taken within each seed, so that what a seed does to both ways drops out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

CONFIDENCE = 0.95
Runs = Mapping[str, Mapping[str, Any]]


def p_of(values: Sequence[float]) -> float:
    """Two-sided p of the mean's being zero; 1 for fewer than two values."""
    if len(values) < 2:
        return 1.0
    spread = statistics.stdev(values)
    if spread == 0:
        return 0.0 if any(values) else 1.0
    return tail(abs(statistics.mean(values)) / (spread / math.sqrt(len(values))), len(values) - 1)


def tail(t: float, freedom: int) -> float:
    """P(|T| > t) of Student's t, by integrating its density over t = √freedom · tan φ."""
    angles = np.linspace(math.atan(t / math.sqrt(freedom)), math.pi / 2, 20_001)
    density = np.cos(angles) ** (freedom - 1)
    whole = math.sqrt(math.pi) * math.gamma(freedom / 2) / math.gamma((freedom + 1) / 2)
    return float(2 * ((density[1:] + density[:-1]) / 2 * np.diff(angles)).sum() / whole)


def quantile(freedom: int) -> float:
    """The t that |T| exceeds once in twenty times."""
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle, freedom) > 1 - CONFIDENCE else (low, middle)
    return low


def holm(ps: Mapping[str, float]) -> dict[str, float]:
    """p-values of several comparisons, corrected for there being several (Holm 1979)."""
    corrected, worst = {}, 0.0
    for rank, name in enumerate(sorted(ps, key=lambda entry: ps[entry])):
        worst = max(worst, min(1.0, (len(ps) - rank) * ps[name]))
        corrected[name] = worst
    return corrected


def interval(values: Sequence[float]) -> str:
    """Mean ± half of the 95 % interval of the mean (s standard deviation)."""
    if len(values) < 2:
        return f"{values[0]:.1f}"
    spread = statistics.stdev(values)
    return f"{statistics.mean(values):.1f} ± {quantile(len(values) - 1) * spread / math.sqrt(len(values)):.1f} (s {spread:.1f})"


def differences(known: Runs, way: str, base: str, key: str = "top1") -> list[float]:
    """Of `way` to `base` in each seed that has both, in points of a hundred."""
    seeds = [name.rpartition("|")[2] for name in known if name.rpartition("|")[0] == way]
    return [100 * (known[f"{way}|{seed}"][key] - known[f"{base}|{seed}"][key]) for seed in seeds if f"{base}|{seed}" in known]


def table_of(known: Runs, base: str) -> list[str]:
    """A row for each way: its own intervals, and the difference to `base` with its p and its p after Holm's correction."""
    ways = list(dict.fromkeys(name.rpartition("|")[0] for name in known if "|" in name))
    found = {way: differences(known, way, base) for way in ways if way != base}
    ps = {way: p_of(values) for way, values in found.items() if len(values) > 1}
    corrected = holm(ps)
    rows = []
    for way in ways:
        runs = [run for name, run in known.items() if name.rpartition("|")[0] == way]
        cells = [way, f"{len(runs)}", *(interval([100 * run[key] for run in runs]) for key in ("top1", "agreement"))]
        cells += [interval(found[way]) if found.get(way) else "–"]
        cells += [f"{ps[way]:.3f}", f"{corrected[way]:.3f}"] if way in ps else ["–", "–"]
        rows.append("| " + " | ".join(cells) + " |")
    head = f"| way | seeds | top-1 % | agreement % | top-1 − {base} | p | p (Holm) |"
    return [head, "|---" * 7 + "|", *rows] if rows else []
