"""``edgewright bench``: latency and energy of a model or an engine, or of two side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import (
    backend_option,
    batch_option,
    existing_path,
    json_option,
    latency_line,
    number,
    print_json,
    print_table,
    seconds_option,
    threads_option,
)

if TYPE_CHECKING:
    from ..core.measurement import Energy
    from ..core.profile import ScenarioName
    from ..engines.base import LayerTime, Split
    from ..pipeline.bench import Ratio
    from ..pipeline.measure import Timing
    from ..pipeline.target import Target


@click.command()
@click.argument("model", type=existing_path)
@click.argument("other", type=existing_path, required=False)
@click.option("--calibration", type=existing_path, help="Real samples to run; default: zeros.")
@click.option("--layers", is_flag=True, help="Time each layer too, in runs of their own.")
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
@click.option("--provider", help="Execution provider of onnxruntime: cpu, cuda or tensorrt; default: the best there is.")
@threads_option
@batch_option
@json_option
def bench(
    model: Path,
    other: Path | None,
    calibration: Path | None,
    layers: bool,
    scenario: ScenarioName,
    streams: int,
    rate_per_s: float,
    seconds: float,
    backend: str | None,
    provider: str | None,
    threads: int,
    batch: int,
    as_json: bool,
) -> None:
    """Measure latency percentiles, throughput and energy of MODEL: an ONNX file or an engine folder.

    With OTHER both are measured in turns, and the ratio says how many times as fast OTHER is.
    """
    from ..pipeline.bench import layers_of, measure_split, ratio_of, time_targets
    from ..pipeline.target import open_target

    if other is not None and scenario != "single-stream":
        raise click.UsageError("Two engines are compared in the scenario single-stream only.")
    samples = None if calibration is None else calibration.resolve()
    paths = [path for path in (model, other) if path is not None]
    targets = [open_target(path.resolve(), backend=backend, provider=provider, threads=threads, batch=batch, calibration=samples) for path in paths]
    if scenario == "single-stream":
        timings = time_targets(targets, seconds=seconds)
    else:
        timings = (_under_load(targets[0], scenario, seconds, streams, rate_per_s),)
    splits = [measure_split(target) for target in targets]
    times = [layers_of(target) if layers else None for target in targets]
    if other is None:
        if as_json:
            print_json(_answer(timings[0], splits[0], times[0]))
        else:
            _print(timings[0], splits[0], times[0])
        return
    ratio, names = ratio_of(timings[0], timings[1]), [str(path) for path in paths]
    if as_json:
        answers = [{"name": name, **_answer(*entry)} for name, entry in zip(names, zip(timings, splits, times, strict=True), strict=True)]
        print_json({"engines": answers, "ratio": ratio})
        return
    _print_both(names, timings, ratio)
    for name, entry in zip(names, times, strict=True):
        if entry is not None:
            click.echo(name)
            _print_layers(entry)


def _under_load(target: Target, scenario: ScenarioName, seconds: float, streams: int, rate_per_s: float) -> Timing:
    """One engine under one of MLPerf's scenarios; the throughput is the whole load's."""
    from msgspec.structs import replace

    from ..core.profile import ProfileOrder
    from ..pipeline.measure import Timing
    from ..pipeline.profile import profile_target

    found = profile_target(target, ProfileOrder(scenario=scenario, seconds=max(0.1, seconds), streams=streams, rate_per_s=rate_per_s))
    assert found.latency_ms is not None
    latency = replace(found.latency_ms, throughput_per_s=found.throughput_per_s)
    return Timing(latency, found.energy_mj, found.energy_reason, found.conditions)


def _answer(timing: Timing, split: Split | None, times: tuple[LayerTime, ...] | None) -> dict[str, object]:
    found: dict[str, object] = {
        "latency_ms": timing.latency_ms,
        "throughput_per_s": timing.latency_ms.throughput_per_s,
        "energy_mj": timing.energy_mj,
        "energy_reason": timing.energy_reason,
        "conditions": timing.conditions,
        "split_ms": split,
    }
    return found if times is None else {**found, "layers": times}


def _print(timing: Timing, split: Split | None, times: tuple[LayerTime, ...] | None) -> None:
    conditions, energy = timing.conditions, timing.energy_mj
    click.echo(f"latency: {latency_line(timing.latency_ms)}")
    click.echo(f"throughput: {(timing.latency_ms.throughput_per_s or 0) * conditions.batch:.0f} samples/s")
    click.echo(f"energy: {timing.energy_reason}" if energy is None else f"energy: {_energy_line(energy)}")
    if split is not None:
        click.echo(
            f"of it: to the device {split.host_to_device_ms:.3f} ms, computing {split.compute_ms:.3f}, back {split.device_to_host_ms:.3f}; "
            f"submitting {split.enqueue_ms:.3f}"
        )
    click.echo(f"on {conditions.processor or conditions.board}, {conditions.provider}, threads {conditions.threads}, batch {conditions.batch}")
    if times is not None:
        _print_layers(times)


def _print_both(names: list[str], timings: tuple[Timing, ...], ratio: Ratio) -> None:
    rows = [
        [name, number(timing.latency_ms.p50, "ms", 3), number(timing.latency_ms.p99, "ms", 3), number(timing.latency_ms.mean, "ms", 3),
         number(timing.energy_mj.mean if timing.energy_mj else None, "mJ"), timing.conditions.provider]
        for name, timing in zip(names, timings, strict=True)
    ]  # fmt: skip
    print_table(["engine", "p50", "p99", "mean", "energy", "provider"], rows)
    click.echo(f"{names[1]} is {number(ratio.by_median)} times as fast as {names[0]} by the median, {ratio.by_mean:.2f} by the mean")


def _print_layers(times: tuple[LayerTime, ...]) -> None:
    total = sum(entry.mean_ms for entry in times) or 1.0
    rows = [
        [entry.name, entry.kind, f"{entry.mean_ms:.4f} ms", f"{100 * entry.mean_ms / total:.1f} %", entry.provider]
        for entry in sorted(times, key=lambda entry: entry.mean_ms, reverse=True)
    ]
    print_table(["layer", "kind", "mean", "share", "ran on"], rows)


def _energy_line(energy: Energy) -> str:
    parts = [f"{energy.mean:.3f} mJ gross, 95 % {energy.ci95[0]:.3f} to {energy.ci95[1]:.3f} ({energy.scope}, {energy.source})"]
    if energy.net is not None:
        parts.append(f"{energy.net:.3f} mJ above idle")
    return ", ".join(parts) + (f"; flags: {', '.join(energy.flags)}" if energy.flags else "")
