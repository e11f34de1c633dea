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
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

SHM = Path("/dev/shm")
CUTS_PER_POINT = 2
FUZZ_PIECE = 20_000
TRIES = 3
Kill = tuple[str, tuple[str, ...]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("part", choices=sorted(PARTS))
    parser.add_argument("--into", type=Path, default=Path("reliability-runs"), help="the folder of the results (default: reliability-runs)")
    parser.add_argument("--seconds", type=float, default=240.0, help="stop after so long; the next call goes on (default: 240)")
    parser.add_argument("--shard", default="0/1", help="this share of the runs, as 0/2 and 1/2 on two cores (default: 0/1)")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="inputs for each parser (default: 1000000)")
    parser.add_argument("--model", type=Path, action="append", default=[], help="another model for the deltas, an ONNX file; may be given again")
    parser.add_argument("--agents", type=int, default=3, help="agents of the soak (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="of the soak's chance (default: 0)")
    options = parser.parse_args()
    options.into.mkdir(parents=True, exist_ok=True)
    return PARTS[options.part](options)


def kills(options: argparse.Namespace) -> int:
    """Kill at every point of every story; and twice, the second time on the way back."""
    from faults.ground import Ground
    from faults.matrix import Matrix, encode_run

    share, shares = (int(word) for word in options.shard.split("/"))
    results = options.into / f"kills-{share}of{shares}.jsonl"
    tries = Counter((line["story"], tuple(line["targets"])) for line in _lines(results))
    done = {(line["story"], tuple(line["targets"])) for line in _lines(results) if line["is_reached"]}
    done |= {run for run, count in tries.items() if count >= TRIES}
    deadline_s = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None, prefix="edgewright-kills-") as folder, Ground(Path(folder) / "g") as ground:
        matrix = Matrix(ground)
        plan = _plan(matrix, options.into / "points.json")
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


def cuts(options: argparse.Namespace) -> int:
    """Cut the power before every change of the disk of every tale, several times each, with other losses each time."""
    import logging

    from faults.cuts import Cuts, load_fake

    logging.disable(logging.CRITICAL)
    with (options.into / "cuts.jsonl").open("w") as file:
        for name, tale in load_fake("tales").STORIES.items():
            with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder, _patched() as patch:
                told = Cuts(Path(folder), tale, patch)
                for at in range(told.passed):
                    for seed in range(CUTS_PER_POINT):
                        picture, wrong = told.tell(at, seed)
                        if picture != told.expected:
                            wrong.append("it came to another end")
                        file.write(json.dumps({"tale": name, "at": at, "seed": seed, "wrong": wrong}) + "\n")
            print(name)
    return 0


@contextmanager
def _patched() -> Iterator[Callable[[object, str, object], None]]:
    """Sets attributes, and sets them back."""
    before: list[tuple[object, str, object]] = []

    def patch(owner: object, name: str, value: object) -> None:
        before.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    try:
        yield patch
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


def links(options: argparse.Namespace) -> int:
    """Every bad link in the middle of a download, and how soon after it all is well."""
    from faults.links import Links, ground_for_links

    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder, ground_for_links(Path(folder) / "g") as ground:
        lines = []
        told = Links(ground)
        for name, fault in told.faults().items():
            lines.append(asdict(told.tell(name, fault)))
            print(lines[-1])
        told.close()
    _write(options.into / "links.jsonl", lines)
    return 0


def shortages(options: argparse.Namespace) -> int:
    """A board that runs short of something in the middle of a download. As root: its disk is a small one."""
    from faults.links import Links, ground_for_links
    from faults.resources import Shortages, Supervisor, small_disk

    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder, ground_for_links(Path(folder) / "g", f"{folder}/n") as ground:
        links, supervisor, lines = Links(ground), Supervisor(f"{folder}/n"), []
        with small_disk(ground.state):
            told = Shortages(ground, links, supervisor)
            for name, fault in told.faults().items():
                lines.append(asdict(told.tell(name, fault)))
                print(lines[-1], flush=True)
        links.close()
        supervisor.close()
    _write(options.into / "shortages.jsonl", lines)
    return 0


def idle(options: argparse.Namespace) -> int:
    """What an agent with nothing to do sends, receives and writes in ``--seconds``."""
    from faults.ground import Ground
    from faults.idle import watch_idle
    from faults.links import Links, order_of

    with (
        tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as logs,
        tempfile.TemporaryDirectory() as folder,
        Ground(Path(folder) / "g", broker="", telemetry_s=60.0) as ground,
    ):
        links = Links(ground)
        ground.fresh()
        ground.logs = Path(logs)
        ground.start()
        ground.want(order_of(ground, "i1", 340))
        ground.until(lambda: ground.states("i1")[-1:] == ["SUCCEEDED"], "the deployment")
        deployment_bytes = ground.ask("explain", "i1")["written_bytes"]
        found = watch_idle(ground, links, options.seconds)
        assert ground.stop() == 0
        links.close()
    per_day = {"wire_mb_per_day": found.wire_mb_per_day, "flash_mb_per_day": found.flash_mb_per_day}
    line = asdict(found) | per_day | {"deployment_bytes": deployment_bytes, "deployed_bytes": 4 * 340 * 340}
    print(line)
    _write(options.into / "idle.jsonl", [line])
    return 0


def rates(options: argparse.Namespace) -> int:
    """How much of a link's rate a transfer uses."""
    from faults.links import Links, ground_for_links
    from faults.proxy import Weather

    lines = []
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder, ground_for_links(Path(folder) / "g") as ground:
        told = Links(ground)
        for _ in range(3):
            lines.append(asdict(told.rate("100 Mbit/s, 50 ms round trip", 40.0, Weather(delay_s=0.025, bytes_per_s=12.5e6))))
            lines.append(asdict(told.rate("10 Mbit/s, 1 % of the chunks lost", 14.0, Weather(delay_s=0.01, bytes_per_s=1.25e6, lost=0.01))))
            print(lines[-2:])
        told.close()
    _write(options.into / "rates.jsonl", lines)
    return 0


def deltas(options: argparse.Namespace) -> int:
    """The bytes that a next version costs, of a 30 MB model of random weights, or of the model ``--model``."""
    import numpy as np
    import onnx
    from edgewright.core.delta.codec import apply_delta, encode_delta
    from edgewright.core.delta.recipe import encode_recipe, fill

    chance = np.random.default_rng(0)
    lines = []
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder:
        base, target, out = (Path(folder) / name for name in ("base", "target", "out"))
        for kind, model in _models_for_deltas(options):
            onnx.save_model(model, str(base))
            for change in ("fine-tune of all weights by 0.1 %", "new head", "new head, everything moved"):
                changed = onnx.ModelProto.FromString(base.read_bytes())
                share = _change(changed, change, chance)
                onnx.save_model(changed, str(target))
                began_s = time.monotonic()
                delta = encode_delta(base, target)
                encoded_s = time.monotonic() - began_s
                began_s = time.monotonic()
                apply_delta(base, delta, out, target.stat().st_size)
                decoded_s = time.monotonic() - began_s
                assert out.read_bytes() == target.read_bytes()
                recipe = encode_recipe(target)
                out.unlink()
                filled = fill(out, recipe, [base], target.stat().st_size)
                size = target.stat().st_size
                lines.append(
                    {
                        "model": kind, "megabytes": size / 1e6, "change": change, "changed_share": share, "delta_share": len(delta) / size,
                        "encode_s": encoded_s,
                        "decode_s": decoded_s, "pieces_share": 1 - filled / size + len(recipe) / size,
                    }
                )  # fmt: skip
                print(lines[-1])
    _write(options.into / "deltas.jsonl", lines)
    return 0


def _models_for_deltas(options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    chance = np.random.default_rng(1)
    weights = [chance.standard_normal((size, size)).astype(np.float32) * np.float32(0.05) for size in (400, 600, 800, 1000, 1200, 1400, 1300, 640)]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", 1, [1])],
        [helper.make_tensor_value_info("y", 1, [1])],
        [numpy_helper.from_array(value, f"w{number}") for number, value in enumerate(weights)],
    )
    yield "random weights", helper.make_model(graph)
    for path in options.model:
        yield path.stem, onnx.load(str(path))


def _change(model: Any, change: str, chance: Any) -> float:
    """Change the model's floats; returns the share of its bytes that are others then."""
    import numpy as np
    from onnx import numpy_helper

    floats = [tensor for tensor in model.graph.initializer if tensor.data_type == 1]
    total = sum(4 * int(np.prod(tensor.dims)) for tensor in floats)
    if change.startswith("fine-tune"):
        touched = floats
    else:
        # The last layers, up to about a twentieth of the weights.
        touched = []
        for tensor in reversed(floats):
            if sum(4 * int(np.prod(other.dims)) for other in [*touched, tensor]) > 0.06 * total:
                break
            touched.append(tensor)
    for tensor in touched:
        values = numpy_helper.to_array(tensor)
        factor = 1 + 1e-3 * chance.standard_normal(values.shape) if change.startswith("fine-tune") else chance.standard_normal(values.shape)
        tensor.CopyFrom(numpy_helper.from_array((values * factor).astype(np.float32), tensor.name))
    if "moved" in change:
        model.producer_name = "somebody else"
    return sum(4 * int(np.prod(tensor.dims)) for tensor in touched) / total


def fuzzing(options: argparse.Namespace) -> int:
    """Spoilt inputs for every parser, up to ``--inputs`` of each; goes on where it was. A parser with a fault waits for the next call."""
    import logging
    import warnings

    from faults.parsers import all_parsers, fuzz, spoilt

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    share, shares = (int(word) for word in options.shard.split("/"))
    results = options.into / f"fuzz-{share}of{shares}.json"
    done: dict[str, int] = json.loads(results.read_text("utf-8")) if results.exists() else {}
    deadline_s = time.monotonic() + options.seconds
    faulty: set[str] = set()
    piece_s: dict[str, float] = {}
    with all_parsers() as parsers:
        while time.monotonic() < deadline_s:
            left = [name for name in list(parsers)[share::shares] if done.get(name, 0) < options.inputs and name not in faulty]
            if not left:
                print("all done" if not faulty else f"all but {sorted(faulty)} done")
                return 1 if faulty else 0
            # The quickest to its end first: what there is time for should be whole.
            name = min(left, key=lambda name: (options.inputs - done.get(name, 0)) * piece_s.get(name, 0.0))
            began_s = time.process_time()
            try:
                done[name] = done.get(name, 0) + fuzz(parsers[name], spoilt(parsers[name], done.get(name, 0), FUZZ_PIECE))
            except AssertionError as error:
                print(f"{name}: {error}", file=sys.stderr, flush=True)
                faulty.add(name)
                continue
            piece_s[name] = time.process_time() - began_s
            results.write_text(json.dumps(done, indent=1), "utf-8")
    print(f"{sum(done.values())} inputs so far")
    return 3


def soak(options: argparse.Namespace) -> int:
    """A fleet of agents under random faults for ``--seconds``."""
    from faults.soak import Soak

    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder:
        agents = [Soak(Path(folder) / f"agent{number}", options.seed + number, options.seconds) for number in range(options.agents)]
        for agent in agents:
            agent.wait()
    counts = sum((agent.counts for agent in agents), Counter[str]())
    wrong = [line for agent in agents for line in agent.wrong]
    line = {"seconds": options.seconds, "agents": options.agents, "counts": counts, "worst_s": max(agent.worst_s for agent in agents), "wrong": wrong}
    print(json.dumps(line))
    _write(options.into / "soak.jsonl", [line])
    return 1 if wrong else 0


def _write(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def _plan(matrix: object, cache: Path) -> list[Kill]:
    """Every point at least once, by whichever story passes it first; then every point of every story, and between them every fifth with a kill of
    the next life at a point early on its way. What is done of either half is a fair sample of it.
    """
    from faults.stories import STORIES

    if not cache.exists():
        cache.write_text(json.dumps({name: matrix.points(name) for name in STORIES}), "utf-8")  # type: ignore[attr-defined]
    points: dict[str, list[str]] = json.loads(cache.read_text("utf-8"))
    once: dict[str, Kill] = {}
    for name, labels in points.items():
        for label in labels:
            once.setdefault(label, (name, (label,)))
    first = list(once.values())
    rest: list[Kill] = [(name, (label,)) for name, labels in points.items() for label in labels if once[label] != (name, (label,))]
    rest += [
        (name, (label, labels[(number * 7) % min(40, len(labels))])) for name, labels in points.items() for number, label in enumerate(labels[::5])
    ]
    for part in (first, rest):
        random.Random(0).shuffle(part)
    return first + rest


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def table(options: argparse.Namespace) -> int:
    """Make the page of what is in ``--into``."""
    from faults.page import page

    print(page(options.into))
    return 0


PARTS: dict[str, Callable[[argparse.Namespace], int]] = {
    "kills": kills, "cuts": cuts, "links": links, "rates": rates, "deltas": deltas, "fuzz": fuzzing, "soak": soak,
    "shortages": shortages, "idle": idle,     "table": table,
}  # fmt: skip

if __name__ == "__main__":
    os.environ.pop("PYTHONSAFEPATH", None)
    sys.exit(main())
