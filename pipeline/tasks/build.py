"""The task ``build``: a `BuildRequest` in, a `BuildResult` out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from ...engines.discovery import usable_backend
from ..build import build_engine, build_options, finish_engine
from ..child import Progress
from ..request import BuildRequest, BuildResult
from ..subject import open_subject
from ..workshop import open_workshop


def run(request: bytes, progress: Progress) -> bytes:
    wanted = msgspec.json.decode(request, type=BuildRequest)
    return msgspec.json.encode(build(wanted, progress))


def build(wanted: BuildRequest, progress: Progress) -> BuildResult:
    """Build one engine folder.

    Raises:
        EdgewrightError: what the backend's `build` raises.
    """
    subject = open_subject(Path(wanted.model))
    backend, _ = usable_backend(wanted.backend)
    workshop = open_workshop(_path(wanted.identity), _path(wanted.cache))
    options = replace(
        build_options(subject, precision=wanted.precision, threads=wanted.threads, batch=wanted.batch),
        provider=wanted.provider,
        workspace_mb=wanted.workspace_mb,
        optimization_level=wanted.optimization_level,
        calibration_cache=_path(wanted.calibration_cache),
        dla_core=wanted.dla_core,
        is_sparse=wanted.is_sparse,
        is_refittable=wanted.is_refittable,
        is_stripped=wanted.is_stripped,
        compatibility=wanted.compatibility,
    )
    out = Path(wanted.out)
    built = build_engine(out.name, backend, subject.path, subject, out.parent, options, workshop, progress=progress)
    finish_engine(built, workshop, model_name=wanted.model_name or subject.path.stem, deployment="", model_version="")
    return BuildResult(
        backend=backend,
        backend_version=built.engine.backend_version,
        provider=built.engine.provider,
        path=str(built.engine.path),
        size_bytes=built.engine.size_bytes,
        build_s=round(built.build_s, 3),
        build_memory_mb=round(built.build_memory_mb, 1),
        fingerprint=built.fingerprint,
        is_cached=built.is_cached,
    )


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
