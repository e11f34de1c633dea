"""Python's cyclic garbage collector, held back around TensorRT's calls.

TensorRT calls the logger and the monitor while it holds a lock of the whole process. A collection that starts there may free an older builder,
network or engine that an exception's traceback kept alive; their destructors take the same lock, and the process waits for itself for ever.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Iterator[None]:
    """No cyclic collection inside; may be nested, and serves as a decorator. Reference counting goes on as always."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
