"""The worker child's entry: ``python -m edgewright.pipeline.worker TASK``. Reads a request, runs one task, writes lines (see `child`)."""

from __future__ import annotations

import logging
import os
import sys
import time

import msgspec

from ..core.errors import EdgewrightError, Faulty, Reason, Unfit
from ..core.plugins import load_plugin
from . import tasks
from .child import RESULT_FD_VARIABLE, Line

MAX_REQUEST_BYTES = 16 << 20
_MIN_INTERVAL_S = 0.2


class _Writer:
    """Writes protocol lines; progress at most five times a second."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._next = 0.0

    def progress(self, share: float, note: str) -> None:
        now = time.monotonic()
        if now >= self._next or share >= 1:
            self._next = now + _MIN_INTERVAL_S
            self.line(Line(share=min(1.0, max(0.0, share)), note=note))

    def line(self, line: Line) -> None:
        view = memoryview(msgspec.json.encode(line) + b"\n")
        while view:
            view = view[os.write(self._descriptor, view) :]


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    request = sys.stdin.buffer.read(MAX_REQUEST_BYTES + 1)
    return work(sys.argv[1], request, int(os.environ[RESULT_FD_VARIABLE]))


def work(task: str, request: bytes, descriptor: int) -> int:
    """Run one task and write its lines to `descriptor`; the exit status."""
    writer = _Writer(descriptor)
    try:
        if len(request) > MAX_REQUEST_BYTES:
            raise Faulty("request-too-large", "the worker's request is too large", "Report this")
        result: bytes = load_plugin(tasks, task).run(request, writer.progress)
        writer.line(Line(result=msgspec.Raw(result)))
        return 0
    except EdgewrightError as error:
        writer.line(Line(reason=error.reason))
    except MemoryError:
        writer.line(Line(reason=Unfit("out-of-memory", "the worker ran out of memory", "Use a smaller model or allow more").reason))
    except Exception as error:
        logging.getLogger(__name__).exception("The task %s failed", task)
        text = f"{type(error).__name__}: {error}"[:500]
        writer.line(Line(reason=Reason("internal-error", f"the task {task} failed: {text}", "Report this with the agent's log")))
    return 1


if __name__ == "__main__":
    sys.exit(main())
