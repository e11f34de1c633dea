"""What TensorRT says while it works: its log is the only place where it explains a failure, and, before 10, its progress.

TensorRT calls its logger while it holds a lock of the whole process. A collection of cycles that starts there may free an older builder, network
or engine that an exception's traceback kept alive; their destructors take the same lock, and the process waits for itself for ever. Whatever
makes TensorRT speak therefore runs under `collection_paused`.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

MAX_KEPT = 200
_TACTIC = re.compile(r"Timing Runner|Tactic: |Autotuning|Building (Engine|engine)|Compiler backend|\[GraphReduction\]")


def make_logger(trt: Any, on_line: Callable[[str], None] | None = None, *, is_verbose: bool = False) -> Any:
    """A logger of the module `trt` that keeps errors and warnings in ``.kept``; `on_line` hears everything at INFO and above.

    `is_verbose` passes TensorRT's verbose lines on too: before version 10 they are the only sign of progress.
    """
    severity = trt.ILogger.Severity if hasattr(trt.ILogger, "Severity") else trt.Logger.Severity
    loud = (severity.INTERNAL_ERROR, severity.ERROR)

    class EdgewrightLogger(trt.ILogger):  # type: ignore[misc] # the base comes from an untyped module
        def __init__(self) -> None:
            # pybind11 wants the base's own initialiser, not super()'s proxy.
            trt.ILogger.__init__(self)
            self.kept: deque[str] = deque(maxlen=MAX_KEPT)

        def log(self, level: Any, message: str) -> None:
            if level in loud:
                self.kept.append(message)
                log.warning("TensorRT: %s", message)
            elif level == severity.WARNING:
                self.kept.append(message)
                log.info("TensorRT: %s", message)
            if on_line is not None and (is_verbose or level != severity.VERBOSE):
                on_line(message)

    return EdgewrightLogger()


def is_progress(line: str) -> bool:
    """Whether a verbose line tells of one more step of the build."""
    return _TACTIC.search(line) is not None
