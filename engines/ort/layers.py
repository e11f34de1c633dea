"""Times per layer, from ONNX Runtime's own profile of each node."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ..base import LayerTime, Tensors
from .providers import ProviderOptions
from .session import new_session

MAX_PROFILE_BYTES = 256 << 20
_SUFFIX = "_kernel_time"


class _Arguments(msgspec.Struct, frozen=True):
    op_name: str = ""
    provider: str = ""


class _Record(msgspec.Struct, frozen=True):
    name: str
    dur: float
    cat: str = ""
    args: _Arguments = _Arguments()


def time_layers(engine: Path, feeds: Tensors, runs: int, *, threads: int, providers: Sequence[tuple[str, ProviderOptions]]) -> tuple[LayerTime, ...]:
    """Mean time of each node over `runs` inferences, after one that is not counted.

    Raises:
        EdgewrightError: what `new_session` raises.
    """
    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        session = new_session(str(engine), engine.name, threads=threads, providers=providers, profile_prefix=Path(folder) / "layers")
        for _ in range(runs + 1):
            session.run(None, dict(feeds))
        return layers_from_profile(Path(session.end_profiling()), runs)


def layers_from_profile(path: Path, runs: int) -> tuple[LayerTime, ...]:
    """Sum the last `runs` records of each node, in the order in which nodes were first run."""
    with path.open("rb") as file:
        data = file.read(MAX_PROFILE_BYTES)
    durations: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for record in msgspec.json.decode(data, type=list[_Record]):
        if record.cat == "Node" and record.name.endswith(_SUFFIX):
            durations[record.name.removesuffix(_SUFFIX), record.args.op_name, record.args.provider].append(record.dur)
    return tuple(
        LayerTime(name, kind, provider, sum(times[-runs:]) / (1000 * min(runs, len(times)))) for (name, kind, provider), times in durations.items()
    )
