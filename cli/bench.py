"""``edgewright bench``: latency and energy of a model or an engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import backend_option, batch_option, existing_path, json_option, latency_line, print_json, seconds_option, threads_option

if TYPE_CHECKING:
    from ..core.measurement import Conditions, Energy, Latency
    from ..core.profile import ScenarioName


@click.command()
@click.argument("model", type=existing_path)
@click.option("--calibration", type=existing_path, help="Real samples to run; default: zeros.")
@click.option(
    "--scenario",
    type=click.Choice(["single-stream", "multi-stream", "offline", "open-loop"]),
    default="single-stream",
    show_default=True,
    help="How calls come, as MLPerf names it; an open loop's latency counts from the schedule.",
)
@click.option("--streams", type=click.IntRange(1, 64), default=1, show_default=True, help="Calls side by side, where the scenario has them.")
@click.option("--rate", "rate_per_s", type=click.FloatRange(0.01, 100_000), default=10.0, show_default=True, help="Calls a second of the open loop.")
@seconds_option
@backend_option
@threads_option
@batch_option
@json_option
def bench(
    model: Path,
    calibration: Path | None,
    scenario: ScenarioName,
    streams: int,
    rate_per_s: float,
    seconds: float,
    backend: str | None,
    threads: int,
    batch: int,
    as_json: bool,
) -> None:
    """Measure latency percentiles, throughput and energy of MODEL: an ONNX file or an engine folder."""
    from ..core.profile import ProfileOrder
    from ..pipeline.measure import measure_timing
    from ..pipeline.profile import profile_target
    from ..pipeline.target import open_target

    samples = None if calibration is None else calibration.resolve()
    target = open_target(model.resolve(), backend=backend, threads=threads, batch=batch, calibration=samples)
    if scenario == "single-stream":
        timing = measure_timing({"": target.engine}, target.feeds, seconds=seconds, batch=target.batch)[""]
        _tell(timing.latency_ms, timing.latency_ms.throughput_per_s, timing.energy_mj, timing.energy_reason, timing.conditions, as_json=as_json)
        return
    order = ProfileOrder(scenario=scenario, seconds=max(0.1, seconds), streams=streams, rate_per_s=rate_per_s)
    found = profile_target(target, order)
    assert found.latency_ms is not None
    _tell(found.latency_ms, found.throughput_per_s, found.energy_mj, found.energy_reason, found.conditions, as_json=as_json)


def _tell(
    latency: Latency, throughput_per_s: float | None, energy: Energy | None, reason: str | None, conditions: Conditions, *, as_json: bool
) -> None:
    if as_json:
        print_json(
            {
                "latency_ms": latency,
                "throughput_per_s": throughput_per_s,
                "energy_mj": energy,
                "energy_reason": reason,
                "conditions": conditions,
            }
        )
        return
    click.echo(f"latency: {latency_line(latency)}")
    click.echo(f"throughput: {(throughput_per_s or 0) * conditions.batch:.0f} samples/s")
    click.echo(f"energy: {reason}" if energy is None else f"energy: {_energy_line(energy)}")
    click.echo(f"on {conditions.processor or conditions.board}, {conditions.provider}, threads {conditions.threads}, batch {conditions.batch}")


def _energy_line(energy: Energy) -> str:
    parts = [f"{energy.mean:.3f} mJ gross, 95 % {energy.ci95[0]:.3f} to {energy.ci95[1]:.3f} ({energy.scope}, {energy.source})"]
    if energy.net is not None:
        parts.append(f"{energy.net:.3f} mJ above idle")
    return ", ".join(parts) + (f"; flags: {', '.join(energy.flags)}" if energy.flags else "")
