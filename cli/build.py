"""``edgewright build``: an engine folder from an ONNX file, without calibration."""

from __future__ import annotations

from pathlib import Path

import click

from .output import (
    backend_option,
    batch_option,
    cache_option,
    existing_path,
    json_option,
    new_folder,
    out_option,
    print_json,
    progress_bar,
    size,
    threads_option,
)

_FIELDS = {"sparse": "is_sparse", "refittable": "is_refittable", "stripped": "is_stripped"}


@click.command()
@click.argument("model", type=existing_path)
@out_option
@backend_option
@threads_option
@batch_option
@click.option("--provider", help="Execution provider of onnxruntime: cpu, cuda or tensorrt; default: the best there is.")
@click.option("--precision", type=click.Choice(["fp32", "fp16", "int8", "mixed"]), default="fp32", show_default=True, help="Precision to allow.")
@click.option("--calibration-cache", type=existing_path, help="Calibration cache, for INT8 without Q/DQ (TensorRT 8 to 10).")
@click.option("--workspace-mb", type=click.IntRange(1), help="Most workspace that a layer of TensorRT may use.")
@click.option("--optimization-level", type=click.IntRange(0, 5), help="TensorRT's effort: lower builds faster, higher may run faster.")
@click.option("--dla-core", type=click.IntRange(0, 7), help="Build for this deep-learning accelerator, with fallback to the GPU.")
@click.option("--sparse", is_flag=True, help="Allow TensorRT's kernels for 2:4 sparse weights.")
@click.option("--refittable", is_flag=True, help="Let weights be replaced later: edgewright engines refit.")
@click.option("--stripped", is_flag=True, help="A plan without weights, which gets them from the model beside it when it is opened.")
@click.option("--compatibility", type=click.Choice(["none", "version", "hardware"]), default="none", show_default=True, help="Where else it may run.")
@click.option("--max-seconds", type=click.FloatRange(1), default=3600.0, show_default=True, help="Longest build that is allowed.")
@click.option("--max-memory-mb", type=click.FloatRange(1), help="Most memory that the build may take; default: not limited.")
@click.option("--reserve-mb", type=click.FloatRange(1), help="End the build when the board has less memory than this available; default: never.")
@cache_option
@json_option
def build(
    model: Path,
    out: Path,
    max_seconds: float,
    max_memory_mb: float | None,
    reserve_mb: float | None,
    no_cache: bool,
    as_json: bool,
    **options: object,
) -> None:
    """Build MODEL into an engine folder for this device: the engine, its card, a manifest and its seal.

    The build runs in a child process under the given limits. An engine with the same fingerprint is not built again.
    """
    import msgspec

    from ..core.errors import error_from_reason
    from ..pipeline.child import Limits, run_child
    from ..pipeline.request import BuildRequest, BuildResult
    from ..pipeline.workshop import user_cache

    plain = {_FIELDS.get(key, key): value for key, value in options.items()}
    cache = plain.pop("calibration_cache")
    with new_folder(out) as folder, progress_bar(f"building {model.name}") as progress:
        # The engine takes the place of the empty folder in one rename.
        fixed = {
            "model": str(model.resolve()),
            "out": str(folder),
            "cache": None if no_cache else str(user_cache()),
            "calibration_cache": str(cache.resolve()) if isinstance(cache, Path) else None,
        }
        request = msgspec.convert(plain | fixed, BuildRequest)
        limits = Limits(max_seconds, max_memory_mb, reserve_mb, nice=0)
        outcome = run_child("build", msgspec.json.encode(request), limits, on_progress=progress)
        if outcome.result is None:
            assert outcome.reason is not None
            raise error_from_reason(outcome.reason)
    result = msgspec.json.decode(outcome.result, type=BuildResult)
    if as_json:
        print_json(result)
        return
    how = "taken from the cache" if result.is_cached else f"built in {result.build_s:.1f} s"
    click.echo(f"{result.path}: {size(result.size_bytes)}, {result.backend} {result.backend_version} on {result.provider}, {how}")
