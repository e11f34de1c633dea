"""The page docs/measured/reliability.md, of what the parts have left. Only what was run stands in it."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections import Counter, defaultdict
from pathlib import Path
from statistics import median
from typing import Any

INPUTS = 1_000_000
Row = tuple[object, ...]
Line = dict[str, Any]


def page(folder: Path) -> str:
    cores = len(os.sched_getaffinity(0))
    head = (
        "# Reliability, measured\n\nMade by `benchmarks/reliability.py table` of what its other parts left. "
        f"{platform.machine()}, Python {sys.version.split()[0]}, {cores} shared cores, other programs running; no Jetson.\n"
    )
    parts = [
        head,
        _kills(folder),
        _cuts(folder),
        _links(folder),
        _shortages(folder),
        _idle(folder),
        _rates(folder),
        _deltas(folder),
        _fuzz(folder),
        _soak(folder),
    ]
    return "\n".join(part for part in parts if part)


def _lines(folder: Path, pattern: str) -> list[Line]:
    return [json.loads(line) for path in sorted(folder.glob(pattern)) for line in path.read_text("utf-8").splitlines()]


def _grouped(lines: list[Line], key: str) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        found[line[key]].append(line)
    return found


def _table(*rows: Row) -> str:
    cells = [" | ".join(str(cell) for cell in row) for row in rows]
    return "\n".join([f"| {cells[0]} |", "|" + "---|" * len(rows[0]), *(f"| {cell} |" for cell in cells[1:])]) + "\n"


def _kills(folder: Path) -> str:
    runs = _lines(folder, "kills-*.jsonl")
    if not runs:
        return ""
    points: dict[str, list[str]] = json.loads((folder / "points.json").read_text("utf-8"))
    known = {(story, label) for story, labels in points.items() for label in labels}
    hit = {(run["story"], run["targets"][0]) for run in runs if run["is_reached"]}
    kinds, kinds_hit = {label for _, label in known}, {label for _, label in hit}
    wrong = [run for run in runs if run["wrong"]]
    text = (
        f"## Kills\n\n{len(runs)} runs (mark: 2000) of the real agent process, ended by SIGKILL at a numbered point; "
        f"{sum(len(run['targets']) > 1 for run in runs)} of them with a second kill in the next life; {sum(run['lives'] for run in runs)} lives.\n\n"
        f"- Distinct points: {len(kinds)}, reached: {len(kinds & kinds_hit)} ({len(kinds & kinds_hit) / len(kinds):.1%}; mark: 95 %).\n"
        f"- Points of each story taken for themselves: {len(known)}, reached: {len(known & hit)} ({len(known & hit) / len(known):.1%}).\n"
        f"- Runs with a lost deployment, a second activation, an active engine that does not load, or something left over: {len(wrong)}.\n"
        f"- Most chunks that were fetched twice in a run: {max(run['refetched'] for run in runs)} (mark: one window, 20).\n\n"
    )
    text += "".join(f"- {count} ×: {line}\n" for line, count in Counter(run["wrong"][0][:120] for run in wrong).items())
    if before := _lines(folder / "earlier", "kills-*.jsonl"):
        missed = sum(bool(run["wrong"]) for run in before)
        text += f"- Beside these, {len(before)} runs of an earlier state of this tree, with fewer stories: {missed} of them wrong.\n\n"
    rows: list[Row] = [("Story", "numbered points", "kill runs", "points reached", "wrong")]
    for story, mine in _grouped(runs, "story").items():
        reached = {run["targets"][0] for run in mine if run["is_reached"]} & set(points[story])
        rows.append((story, len(points[story]), len(mine), len(reached), sum(bool(run["wrong"]) for run in mine)))
    return text + _table(*rows)


def _cuts(folder: Path) -> str:
    cuts = _lines(folder, "cuts.jsonl")
    if not cuts:
        return ""
    rows: list[Row] = [("Tale", "changes of the disk", "cuts", "wrong")]
    for tale, mine in _grouped(cuts, "tale").items():
        rows.append((tale, 1 + max(cut["at"] for cut in mine), len(mine), sum(bool(cut["wrong"]) for cut in mine)))
    return (
        f"## Power cuts\n\n{len(cuts)} cuts (mark: 1000), before every change of the disk, each of which dropped or tore what was not synced. "
        f"Lost deployments, other ends, active engines that were not whole: {sum(bool(cut['wrong']) for cut in cuts)}.\n\n" + _table(*rows)
    )


def _links(folder: Path) -> str:
    lines = _lines(folder, "links.jsonl")
    rows: list[Row] = [("Fault in the middle of a download of 6.8 MB", "lasted", "all is well after", "chunks", "fetched twice")]
    rows += [(line["fault"], f"{line['fault_s']:.1f} s", f"{line['recovery_s']:.1f} s", line["chunks"], line["twice"]) for line in lines]
    head = "## Bad links\n\nMark: 60 s after the fault's end, without a person. The keepalive is the default, 30 s.\n\n"
    return head + _table(*rows) if lines else ""


def _shortages(folder: Path) -> str:
    lines = _lines(folder, "shortages.jsonl")
    rows: list[Row] = [("Shortage in the middle of a download of 4 MB", "lasted", "the deployment", "all is well after", "lives")]
    for line in lines:
        ended = f"{line['ended']} ({line['reason']})" if line["ended"] != "SUCCEEDED" else line["ended"]
        rows.append((line["fault"], f"{line['fault_s']:.1f} s", ended, f"{line['recovery_s']:.1f} s", line["lives"]))
    head = (
        "## Shortages\n\nMark: 60 s after the fault's end, without a person. The state lies on a tmpfs of 48 MB; limits are put on the running "
        "process. Where a deployment is lost, the next one has to succeed. An agent that ends is started again after the unit's 10 s, and its "
        "watchdog has the unit's 40 s. A file system is read-only from the agent's start on: under a running agent the kernel refuses that.\n\n"
    )
    return head + _table(*rows) if lines else ""


def _idle(folder: Path) -> str:
    lines = _lines(folder, "idle.jsonl")
    rows: list[Row] = [("Looked at for", "TCP payload", "segments", "wire per day, with headers", "written", "flash per day")]
    for line in lines:
        wire, flash = f"{line['wire_mb_per_day']:.2f} MB", f"{line['flash_mb_per_day']:.2f} MB"
        rows.append((f"{line['seconds']:.0f} s", f"{line['wire_bytes']} bytes", line["segments"], wire, f"{line['flash_bytes']} bytes", flash))
    head = (
        "## An idle day\n\nMarks: 1 MB on the wire, 1 MB to flash. Telemetry every 60 s and a keep-alive of 30 s, the defaults, on TCP without TLS; "
        "extrapolated from a few minutes, headers of 40 bytes per segment and acknowledgement added by arithmetic. Written is what the kernel counts "
        "for the agent's process on a real disk; its log was kept elsewhere.\n\n"
    )
    tail = "\nMemory and processor time of an idle agent alone on the machine: [footprint.md](footprint.md).\n" * bool(lines)
    tail += "".join(
        f"\nA deployment of {line['deployed_bytes'] / 1e6:.2f} MB had {line['deployment_bytes'] / 1e6:.2f} MB written, as the agent counts.\n"
        for line in lines
        if line["deployment_bytes"] is not None
    )
    return head + _table(*rows) + tail if lines else ""


def _rates(folder: Path) -> str:
    lines = _lines(folder, "rates.jsonl")
    rows: list[Row] = [("Link (token bucket and delay in a proxy)", "MB", "share of the rate, median", "range", "runs")]
    for link, mine in _grouped(lines, "link").items():
        shares = [line["share"] for line in mine]
        rows.append((link, f"{mine[0]['megabytes']:.1f}", f"{median(shares):.1%}", f"{min(shares):.1%} to {max(shares):.1%}", len(mine)))
    head = "## Throughput\n\nMark: 80 %, from the first chunk that is served to the verified file.\n\n"
    return head + _table(*rows) if lines else ""


def _deltas(folder: Path) -> str:
    lines = _lines(folder, "deltas.jsonl")
    rows: list[Row] = [("Model", "MB", "change", "of its weights", "delta", "encode", "decode", "by pieces, without a delta")]
    for line in lines:
        shares = [f"{line[key]:.1%}" for key in ("changed_share", "delta_share")]
        times = [f"{line[key]:.2f} s" for key in ("encode_s", "decode_s")]
        rows.append((line["model"], f"{line['megabytes']:.1f}", line["change"], *shares, *times, f"{line['pieces_share']:.1%}"))
    head = (
        "## Deltas\n\nMarks for 30 MB: a new head at most 6 % of the bytes, a fine-tune 50 %, encoded within 5 s. Pieces become whole chunks "
        "of 119 KB on the wire.\n\n"
    )
    return head + _table(*rows) if lines else ""


def _fuzz(folder: Path) -> str:
    done: dict[str, int] = {}
    for path in sorted(folder.glob("fuzz-*.json")):
        done |= json.loads(path.read_text("utf-8"))
    if not done:
        return ""
    full = sum(count >= INPUTS for count in done.values())
    rows: list[Row] = [("Parser", "inputs"), *sorted(done.items(), key=lambda item: (-item[1], item[0]))]
    head = f"## Fuzzing\n\nMark: {INPUTS} spoilt inputs per parser; {full} of {len(done)} have had them. Faults and hangs in these: none.\n\n"
    return head + _table(*rows)


def _soak(folder: Path) -> str:
    lines = _lines(folder, "soak.jsonl")
    if not lines:
        return ""
    line = lines[-1]
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(line["counts"].items()))
    return (
        f"## Soak\n\n{line['agents']} agents for {line['seconds']:g} s under random faults: {counts}. "
        f"Slowest end after the last fault: {line['worst_s']:.1f} s. Wrong: {len(line['wrong'])}.\n"
    )
