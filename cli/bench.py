"""``edgewright bench``: latency and energy of a model or an engine."""

from __future__ import annotations

from pathlib import Path

import click

from .output import backend_option, batch_option, existing_path, json_option, latency_line, print_json, seconds_option, threads_option


@click.command()
@click.argument("model", type=existing_path)
@click.option("--calibration", type=existing_path, help="Real samples to run; default: zeros.")
@seconds_option
@backend_option
@threads_option
@batch_option
@json_option
def bench(model: Path, calibration: Path | None, seconds: float, backend: str | None, threads: int, batch: int, as_json: bool) -> None:
    """Measure latency percentiles, throughput and energy of MODEL: an ONNX file or an engine folder."""
    from ..core.card import ModelCard, card_from_toml
    from ..core.dataset import open_dataset
    from ..engines.base import BuildOptions
    from ..engines.discovery import usable_backend
    from ..engines.manifest import verify_manifest
    from ..pipeline.measure import EngineUnderTest, first_feeds, measure_timing, open_engine, zeros_for
    from ..pipeline.subject import batch_for, open_subject

    path = model.resolve()
    if path.is_dir():
        manifest = verify_manifest(path)
        name, _ = usable_backend(backend or manifest.backend)
        engine = EngineUnderTest(name, path / manifest.engine, BuildOptions(threads=threads, batch=batch))
        card = card_from_toml(path / manifest.card) if manifest.card else ModelCard()
    else:
        subject = open_subject(path)
        # Without --backend an ONNX file is run as it is: by ONNX Runtime.
        name, _ = usable_backend(backend or "onnxruntime")
        engine = EngineUnderTest(name, path, BuildOptions(threads=threads, batch=batch))
        card = subject.card
    with open_engine(engine) as runner:
        inputs = runner.inputs
    size = batch_for(inputs, batch)
    if calibration is not None:
        feeds = first_feeds(open_dataset(calibration.resolve(), card, inputs), size)
    else:
        shapes = {key: (size, *entry.shape_opt[1:]) for key, entry in card.inputs.items() if entry.shape_opt}
        feeds = zeros_for(inputs, size, shapes)
    timing = measure_timing({"": engine}, feeds, seconds=seconds, batch=size)[""]
    if as_json:
        print_json(
            {
                "latency_ms": timing.latency_ms,
                "throughput_per_s": timing.latency_ms.throughput_per_s,
                "energy_mj": timing.energy_mj,
                "energy_reason": timing.energy_reason,
                "conditions": timing.conditions,
            }
        )
        return
    click.echo(f"latency: {latency_line(timing.latency_ms)}")
    click.echo(f"throughput: {(timing.latency_ms.throughput_per_s or 0) * size:.0f} samples/s")
    energy = timing.energy_mj
    click.echo(
        f"energy: {timing.energy_reason}" if energy is None else f"energy: {energy.mean:.3f} mJ, 95 % {energy.ci95[0]:.3f} to {energy.ci95[1]:.3f}"
    )
    conditions = timing.conditions
    click.echo(f"on {conditions.processor or conditions.board}, {conditions.provider}, threads {threads}, batch {size}")
