"""Engines that others made: a signed one into this device's cache, and one of this device's with other weights."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from msgspec.structs import replace as with_fields

from ..core.errors import Rejected
from ..core.files import disk_errors
from ..engines.fingerprint import fingerprint
from ..engines.manifest import CARD_NAME, MANIFEST_NAME, Manifest, list_files, read_manifest, write_manifest
from ..engines.model import digest_of_model
from ..engines.opening import Checked, check_folder
from ..engines.provenance import SEAL_NAME, Trusted
from ..engines.trt.family import TensorRtFamily
from .build import Progress, peak_rss_mb, unfinished
from .cache import StageCache
from .request import BuildResult
from .workshop import Workshop


def import_engine(folder: Path, cache: StageCache, anchor: Path, followed: Path | None = None) -> Manifest:
    """Put the engine that the role `engines` has signed into `cache`, from where it is taken when a deployment needs exactly its fingerprint: then
    every check is made again. `followed` is the agent's file of a newer anchor.

    Raises:
        Unfit: what `check_folder` raises; nothing was taken.
    """
    wanted = read_manifest(folder).fingerprint
    manifest = check_folder(folder, Trusted({}, anchor, followed), wanted=wanted).manifest
    cache.folder.mkdir(parents=True, exist_ok=True)
    with disk_errors(cache.folder), unfinished(cache.folder, "import") as work:
        for name in (*manifest.files, MANIFEST_NAME, SEAL_NAME):
            shutil.copyfile(folder / name, work / name)
        cache.put("engines", wanted, work)
    return manifest


def refit_engine(folder: Path, model: Path, out: Path, workshop: Workshop, progress: Progress) -> BuildResult:
    """Write the engine in `folder` with the weights of `model` to ``out``, which does not exist: an engine of this device as any other.

    Raises:
        Rejected: ``not-refittable``, ``option-unsupported`` or ``refit-refused``.
        Unfit: what `check_folder` raises.
    """
    started = time.monotonic()
    checked = check_folder(folder, workshop.trusted)
    backend, manifest = _refitter_of(checked), checked.manifest
    with disk_errors(out), unfinished(out.parent, out.name) as work:
        for name in manifest.files:
            shutil.copyfile(folder / name, work / name)
        progress(0.1, "replacing the weights")
        backend.refit(checked.engine, model, work / manifest.engine, checked.options)
        if (card := model.with_suffix(".toml")).is_file():
            shutil.copyfile(card, work / CARD_NAME)
        assert manifest.key is not None
        key = with_fields(manifest.key, model_digest=digest_of_model(model))
        files = list_files(work)
        card_name = CARD_NAME if CARD_NAME in files else None
        fresh = with_fields(
            manifest,
            model=model.stem,
            key=key,
            fingerprint=fingerprint(key),
            files=files,
            card=card_name,
            candidate=None,
            deployment="",
            model_version="",
        )
        write_manifest(work, fresh, workshop.sign)
        work.rename(out)
    return BuildResult(
        backend=manifest.backend,
        backend_version=manifest.backend_version,
        provider=manifest.provider,
        path=str(out / manifest.engine),
        size_bytes=sum(entry.size_bytes for entry in files.values()),
        build_s=round(time.monotonic() - started, 3),
        build_memory_mb=round(peak_rss_mb(), 1),
        fingerprint=fresh.fingerprint,
        is_cached=False,
    )


def _refitter_of(checked: Checked) -> TensorRtFamily:
    if not isinstance(checked.backend, TensorRtFamily):
        message = f"an engine of {checked.manifest.backend} is its model, and has no weights to replace"
        raise Rejected("option-unsupported", message, "Build the new model")
    if not checked.options.is_refittable:
        raise Rejected("not-refittable", f"the engine {checked.folder.name} was built without --refittable", "Build it again with that option")
    return checked.backend
