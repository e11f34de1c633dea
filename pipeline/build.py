"""The building stage: one engine folder per candidate, finished by its manifest. Same fingerprint, no build."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.digest import digest_of_file
from ..core.files import TEMPORARY_SUFFIX, disk_errors
from ..core.measurement import Candidate
from ..engines.base import BuildOptions, EngineFile, Precision, ShapeProfile
from ..engines.device import engine_key
from ..engines.discovery import load_backend
from ..engines.fingerprint import EngineKey, fingerprint
from ..engines.manifest import CARD_NAME, Manifest, list_files, write_manifest
from .measure import EngineUnderTest
from .subject import Subject, batch_for
from .workshop import Workshop

Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Built:
    """An engine in its folder, and what building it took."""

    name: str
    folder: Path
    engine: EngineFile
    options: BuildOptions
    key: EngineKey
    build_s: float
    build_memory_mb: float
    is_cached: bool

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.key)

    @property
    def under_test(self) -> EngineUnderTest:
        return EngineUnderTest(self.engine.backend, self.engine.path, self.options)


def build_engine(
    name: str,
    backend: str,
    model: Path,
    subject: Subject,
    folder: Path,
    options: BuildOptions,
    workshop: Workshop,
    *,
    table: Path | None = None,
    progress: Progress,
) -> Built:
    """Build `model` into ``folder/name``, whole or not at all: the work is done in a folder beside it.

    The model's card and the range `table` that it was quantised with go into it too.
    """
    started = time.monotonic()
    capabilities = load_backend(backend).capabilities()
    key = engine_key(model, "" if table is None else digest_of_file(table), backend, capabilities, options)
    if workshop.cache is not None:
        options = replace(options, timing_cache=workshop.cache.timing_cache(backend))
    target = folder / name
    with disk_errors(target), unfinished(folder, name) as work:
        cached = None if workshop.cache is None else workshop.cache.take_engine(fingerprint(key), work, workshop.trusted)
        engine = _engine_of(cached, work) if cached is not None else load_backend(backend).build(model, work, options, progress)
        if cached is None:
            _keep(work, engine, key, options, workshop)
        card = subject.path.with_suffix(".toml")
        if card.is_file():
            shutil.copyfile(card, work / CARD_NAME)
        if table is not None:
            shutil.copyfile(table, work / table.name)
        work.rename(target)
    moved = replace(engine, path=target / engine.path.name)
    return Built(name, target, moved, options, key, time.monotonic() - started, peak_rss_mb(), is_cached=cached is not None)


@contextmanager
def unfinished(folder: Path, name: str) -> Iterator[Path]:
    """A folder beside ``folder/name`` to work in; it goes away unless it was renamed."""
    work = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=TEMPORARY_SUFFIX, dir=folder))
    # mkdtemp's folders are their maker's alone; the application reads engines as another user.
    work.chmod(0o755)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _keep(work: Path, engine: EngineFile, key: EngineKey, options: BuildOptions, workshop: Workshop) -> None:
    """Seal the bare engine and keep a copy; what is about one deployment is written later."""
    if workshop.cache is None:
        return
    write_manifest(work, _manifest(work, engine, key, options), workshop.sign)
    workshop.cache.put("engines", fingerprint(key), work)


def _engine_of(manifest: Manifest, work: Path) -> EngineFile:
    size_bytes = sum(entry.size_bytes for entry in manifest.files.values())
    return EngineFile(work / manifest.engine, manifest.backend, manifest.backend_version, manifest.provider, size_bytes)


def _manifest(folder: Path, engine: EngineFile, key: EngineKey, options: BuildOptions) -> Manifest:
    return Manifest(
        model="",
        engine=engine.path.name,
        card=CARD_NAME if (folder / CARD_NAME).is_file() else None,
        backend=engine.backend,
        backend_version=engine.backend_version,
        provider=engine.provider,
        threads=options.threads,
        batch=options.batch,
        precision=options.precision,
        fingerprint=fingerprint(key),
        key=key,
        files=list_files(folder),
    )


def finish_engine(
    built: Built, workshop: Workshop, *, model_name: str, deployment: str = "", model_version: str = "", candidate: Candidate | None = None
) -> None:
    """Write and seal the manifest, which makes the folder an engine."""
    from msgspec.structs import replace as with_fields

    bare = _manifest(built.folder, built.engine, built.key, built.options)
    manifest = with_fields(bare, model=model_name, deployment=deployment, model_version=model_version, candidate=candidate)
    write_manifest(built.folder, manifest, workshop.sign)


def build_options(subject: Subject, *, precision: Precision, threads: int, batch: int) -> BuildOptions:
    """The options of a build, with the card's shapes as optimisation profiles."""
    profiles = {
        name: ShapeProfile(entry.shape_min, entry.shape_opt, entry.shape_max)
        for name, entry in subject.card.inputs.items()
        if entry.shape_min and entry.shape_opt and entry.shape_max
    }
    return BuildOptions(precision=precision, threads=threads, batch=batch_for(subject.inputs, batch), profiles=profiles)


def peak_rss_mb() -> float:
    """The most resident memory that this program ever had, in MB.

    Linux's `VmHWM` where there is one: `ru_maxrss` begins with what the parent had when it started this program.
    """
    import resource

    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
