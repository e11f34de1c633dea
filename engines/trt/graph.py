"""CUDA graphs, by the driver's own library: pycuda has none. A captured inference is submitted in one call.

A model that cannot be captured runs without: capturing is tried once, and a failure is no error.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL in cuda.h: other threads' allocations do not spoil the capture


class CapturedGraph:
    """An instantiated graph. `close` destroys it."""

    def __init__(self, library: ctypes.CDLL, executable: ctypes.c_void_p) -> None:
        self._library = library
        self._executable: ctypes.c_void_p | None = executable

    def launch(self, stream_handle: int) -> bool:
        return self._executable is not None and self._library.cuGraphLaunch(self._executable, ctypes.c_void_p(stream_handle)) == 0

    def close(self) -> None:
        if self._executable is not None:
            self._library.cuGraphExecDestroy(self._executable)
            self._executable = None


def capture(stream_handle: int, submit: Callable[[], bool], library: Any = None) -> CapturedGraph | None:
    """Capture what `submit` enqueues on the stream; None when it cannot be captured."""
    try:
        driver = library if library is not None else ctypes.CDLL("libcuda.so.1")
        begin, end, instantiate = driver.cuStreamBeginCapture_v2, driver.cuStreamEndCapture, driver.cuGraphInstantiateWithFlags
    except (OSError, AttributeError) as error:
        log.info("CUDA graphs are not used: %s", error)
        return None
    stream, graph, executable = ctypes.c_void_p(stream_handle), ctypes.c_void_p(), ctypes.c_void_p()
    if begin(stream, _THREAD_LOCAL) != 0:
        return None
    is_submitted = submit()
    # The capture is ended whatever happened: a stream that stays in capture mode runs nothing any more.
    code = end(stream, ctypes.byref(graph))
    if not is_submitted or code != 0 or not graph:
        log.info("The model cannot be captured as a CUDA graph (error %d); it runs without", code)
        return None
    code = instantiate(ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
    driver.cuGraphDestroy(graph)
    return CapturedGraph(driver, executable) if code == 0 else None
