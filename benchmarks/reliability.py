"""Publishes what an agent survives: kills, power cuts, network faults, full disks; how much of a link it uses; how large its deltas are.

Each part writes a line per run into ``--into``, so that a long part can be done in pieces and goes on where it was; ``table`` makes
docs/measured/reliability.md of what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SHM = Path("/dev/shm")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("part", choices=sorted(PARTS))
    parser.add_argument("--into", type=Path, default=Path("reliability-runs"), help="the folder of the results (default: reliability-runs)")
    parser.add_argument("--seconds", type=float, default=240.0, help="stop after so long; the next call goes on (default: 240)")
    parser.add_argument("--shard", default="0/1", help="this share of the runs, as 0/2 and 1/2 on two cores (default: 0/1)")
    options = parser.parse_args()
    options.into.mkdir(parents=True, exist_ok=True)
    return PARTS[options.part](options)


def kills(options: argparse.Namespace) -> int:
    """Kill at every point of every story; and twice, the second time on the way back."""
    from faults.ground import Ground
    from faults.matrix import Matrix, encode_run

    share, shares = (int(word) for word in options.shard.split("/"))
    results = options.into / f"kills-{share}of{shares}.jsonl"
    done = {(line["story"], tuple(line["targets"])) for line in _lines(results)}
    deadline_s = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None, prefix="edgewright-kills-") as folder, Ground(Path(folder) / "g") as ground:
        matrix = Matrix(ground)
        plan = list(_plan(matrix, options.into / "points.json"))
        random.Random(0).shuffle(plan)  # what is done of it is a fair sample
        todo = [run for number, run in enumerate(plan) if number % shares == share and run not in done]
        with results.open("ab") as file:
            for number, (story, targets) in enumerate(todo):
                if time.monotonic() > deadline_s:
                    print(f"{len(todo) - number} of {len(plan)} are left")
                    return 3
                run = matrix.tell(story, *targets)
                line = json.loads(encode_run(run)) | {"targets": targets}
                file.write(json.dumps(line).encode() + b"\n")
                file.flush()
                if run.wrong:
                    print(f"{story}, {targets}: {run.wrong}", file=sys.stderr)
    print("all done")
    return 0


def _plan(matrix: object, cache: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every point once alone; then every fifth with a kill of the next life at a point early on its way."""
    from faults.stories import STORIES

    if not cache.exists():
        cache.write_text(json.dumps({name: matrix.points(name) for name in STORIES}), "utf-8")  # type: ignore[attr-defined]
    points: dict[str, list[str]] = json.loads(cache.read_text("utf-8"))
    for name, labels in points.items():
        for label in labels:
            yield name, (label,)
    for name, labels in points.items():
        for number, label in enumerate(labels[::5]):
            yield name, (label, labels[(number * 7) % min(40, len(labels))])


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


PARTS: dict[str, Callable[[argparse.Namespace], int]] = {"kills": kills}

if __name__ == "__main__":
    os.environ.pop("PYTHONSAFEPATH", None)
    sys.exit(main())
