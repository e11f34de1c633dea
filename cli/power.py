"""``edgewright power``: what the board draws now, rail by rail."""

from __future__ import annotations

import time
from pathlib import Path

import click

from .output import json_option, print_json, print_table


@click.command()
@click.option("--seconds", type=click.FloatRange(0.1, 86400), default=1.0, show_default=True, help="How long to read.")
@click.option("--root", type=click.Path(path_type=Path), default=Path("/"), show_default=True, help="Read another root's sysfs.")
@json_option
def power(seconds: float, root: Path, as_json: bool) -> None:
    """Read every power sensor, and say what the whole board draws, or why that cannot be said."""
    from ..core.statistics import mean
    from ..profiling.energy import no_sensor_reason
    from ..profiling.sensor import load_sensor, sensor_statuses, usable_sensors

    rails: list[dict[str, object]] = []
    total: dict[str, object] | None = None
    reason: str | None = no_sensor_reason(sensor_statuses(root))
    samples = 0
    names = usable_sensors(root)
    opened = {name: load_sensor(name).open(root) for name in names}
    seen: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    started = time.monotonic()
    deadline = started + seconds
    while names:
        samples += 1
        for name, readings in opened.items():
            for key, value in readings.read_mw().items():
                if value is not None:
                    seen[name].setdefault(key, []).append(value)
        if time.monotonic() >= deadline:
            break
        time.sleep(min(0.1, max(0.0, deadline - time.monotonic())))
    read_s = time.monotonic() - started
    for name, readings in opened.items():
        readings.close()
        info = load_sensor(name).describe(root)
        means = {key: mean(values) for key, values in seen[name].items()}
        rails += [{"label": rail.label, "mean_mw": means.get(rail.key), "sensor": name} for rail in info.rails]
        if total is None:
            missing = [key for key in info.total if key not in means]
            if info.total and not missing:
                labels = {rail.key: rail.label for rail in info.rails}
                total = {"mean_mw": sum(means[key] for key in info.total), "rails": [labels[key] for key in info.total], "scope": info.scope}
                reason = None
            else:
                reason = info.total_reason or f"{name} gave no reading of {', '.join(missing)}"
    if as_json:
        print_json({"rails": rails, "total": total, "total_reason": reason, "seconds": round(read_s, 3), "samples": samples})
        return
    if rails:
        print_table(
            ["rail", "power", "sensor"],
            [[str(r["label"]), "–" if r["mean_mw"] is None else f"{r['mean_mw']:.0f} mW", str(r["sensor"])] for r in rails],
        )
    click.echo(f"total: {reason}" if total is None else f"total: {total['mean_mw']:.0f} mW ({total['scope']})")
