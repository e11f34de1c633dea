"""``edgewright build``: an engine folder from an ONNX file, without calibration."""

from __future__ import annotations

from pathlib import Path

import click

from .output import backend_option, batch_option, existing_path, json_option, new_folder, out_option, print_json, progress_bar, size, threads_option


@click.command()
@click.argument("model", type=existing_path)
@out_option
@backend_option
@threads_option
@batch_option
@json_option
def build(model: Path, out: Path, backend: str | None, threads: int, batch: int, as_json: bool) -> None:
    """Build MODEL into an engine folder for this device: the engine, its card, and a manifest."""
    from ..engines.discovery import usable_backend
    from ..pipeline.build import build_engine, build_options, finish_engine
    from ..pipeline.subject import open_subject

    name, _ = usable_backend(backend)
    subject = open_subject(model.resolve())
    options = build_options(subject, precision="fp32", threads=threads, batch=batch)
    with new_folder(out) as folder, progress_bar(f"building {model.name}") as progress:
        # The engine takes the place of the empty folder in one rename.
        built = build_engine(folder.name, name, subject.path, subject, folder.parent, options, progress=progress)
        finish_engine(built, model_name=model.stem)
    if as_json:
        print_json(
            {
                "backend": name,
                "backend_version": built.engine.backend_version,
                "provider": built.engine.provider,
                "path": str(built.engine.path),
                "size_bytes": built.engine.size_bytes,
                "build_s": round(built.build_s, 3),
                "fingerprint": built.fingerprint,
            }
        )
        return
    click.echo(f"{built.engine.path}: {size(built.engine.size_bytes)}, {name} {built.engine.backend_version} on {built.engine.provider}")
