"""The building stage: one engine folder per candidate, finished by its manifest."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..core.digest import digest_of_file
from ..core.files import TEMPORARY_SUFFIX, disk_errors
from ..core.measurement import Candidate
from ..engines.base import BuildOptions, EngineFile, Precision, ShapeProfile
from ..engines.discovery import load_backend
from ..engines.fingerprint import EngineKey, fingerprint
from ..engines.manifest import CARD_NAME, Manifest, list_files, write_manifest
from ..profiling.board import read_board
from ..profiling.conditions import power_mode
from ..profiling.sysfs import Sysfs
from .measure import EngineUnderTest
from .subject import Subject, batch_for

Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Built:
    """An engine in its folder, and what building it took."""

    name: str
    folder: Path
    engine: EngineFile
    options: BuildOptions
    fingerprint: str
    build_s: float
    build_memory_mb: float

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
    *,
    table: Path | None = None,
    progress: Progress,
) -> Built:
    """Build `model` into ``folder/name``, whole or not at all: the work is done in a folder beside it.

    The model's card and the range `table` that it was quantised with go into it too.
    """
    started = time.monotonic()
    target = folder / name
    with disk_errors(target), unfinished(folder, name) as work:
        engine = load_backend(backend).build(model, work, options, progress)
        card = subject.path.with_suffix(".toml")
        if card.is_file():
            shutil.copyfile(card, work / CARD_NAME)
        if table is not None:
            shutil.copyfile(table, work / table.name)
        work.rename(target)
    moved = EngineFile(target / engine.path.name, engine.backend, engine.backend_version, engine.provider, engine.size_bytes)
    mark = engine_fingerprint(model, "" if table is None else digest_of_file(table), moved, options)
    return Built(name, target, moved, options, mark, time.monotonic() - started, peak_rss_mb())


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


def finish_engine(built: Built, *, model_name: str, deployment: str = "", model_version: str = "", candidate: Candidate | None = None) -> None:
    """Write the manifest, which makes the folder an engine."""
    write_manifest(
        built.folder,
        Manifest(
            model=model_name,
            deployment=deployment,
            model_version=model_version,
            engine=built.engine.path.name,
            card=CARD_NAME if (built.folder / CARD_NAME).is_file() else None,
            backend=built.engine.backend,
            backend_version=built.engine.backend_version,
            provider=built.engine.provider,
            threads=built.options.threads,
            fingerprint=built.fingerprint,
            files=list_files(built.folder),
            candidate=candidate,
        ),
    )


def engine_fingerprint(model: Path, table_digest: str, engine: EngineFile, options: BuildOptions) -> str:
    board = read_board()
    plain = {
        "precision": options.precision,
        "threads": options.threads,
        "batch": options.batch,
        "provider": engine.provider,
        "workspace_mb": options.workspace_mb,
        "optimization_level": options.optimization_level,
        "profiles": {name: (p.minimum, p.optimum, p.maximum) for name, p in options.profiles.items()},
    }
    return fingerprint(
        EngineKey(
            model_digest=digest_of_file(model),
            table_digest=table_digest,
            backend=engine.backend,
            backend_version=engine.backend_version,
            processor=board.processor or board.model,
            driver=board.release,
            power_mode=power_mode(Sysfs()) or "",
            options=msgspec.json.encode(plain, order="sorted").decode(),
        )
    )


def build_options(subject: Subject, *, precision: Precision, threads: int, batch: int) -> BuildOptions:
    """The options of a build, with the card's shapes as optimisation profiles."""
    profiles = {
        name: ShapeProfile(entry.shape_min, entry.shape_opt, entry.shape_max)
        for name, entry in subject.card.inputs.items()
        if entry.shape_min and entry.shape_opt and entry.shape_max
    }
    return BuildOptions(precision=precision, threads=threads, batch=batch_for(subject.inputs, batch), profiles=profiles)


def peak_rss_mb() -> float:
    """The most resident memory that this process ever had, in MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
