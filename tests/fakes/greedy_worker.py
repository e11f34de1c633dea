"""The real worker, in which one step takes more memory than it may, or crashes: ``GREEDY_STEPS`` is ``{"step": "hoards" | "aborts"}``.

``measuring NAME`` is a step too: opening the engine NAME for a measurement.

Started in place of the Python that runs the real worker: ``script -m edgewright.pipeline.worker TASK``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import Any

HOARD_BYTES = 1 << 30
_STEP_BYTES = 8 << 20


def _suffer(how: str) -> None:
    if how == "aborts":
        os.kill(os.getpid(), signal.SIGABRT)
    hoard = bytearray(HOARD_BYTES)
    for start in range(0, HOARD_BYTES, _STEP_BYTES):
        hoard[start : start + _STEP_BYTES : 4096] = b"x" * (_STEP_BYTES // 4096)
    threading.Event().wait()


def main() -> int:
    wanted = json.loads(os.environ["GREEDY_STEPS"])
    from edgewright.pipeline import climb, measure, worker

    build_engine, write_sources, open_engine = climb.build_engine, climb.write_sources, measure.open_engine

    def build(name: str, *arguments: Any, **options: Any) -> Any:
        if name in wanted:
            _suffer(wanted[name])
        return build_engine(name, *arguments, **options)

    def write(run: Any, *arguments: Any, **options: Any) -> Any:
        if "calibration" in wanted:
            _suffer(wanted["calibration"])
        return write_sources(run, *arguments, **options)

    def open_(entry: Any, engine: Any = None) -> Any:
        if (step := f"measuring {entry.engine.parent.name}") in wanted:
            _suffer(wanted[step])
        return open_engine(entry, engine)

    measure.open_engine = open_
    climb.build_engine = build  # type: ignore[assignment]
    climb.write_sources = write  # type: ignore[assignment]
    sys.argv = sys.argv[-2:]
    return worker.main()


if __name__ == "__main__":
    sys.exit(main())
