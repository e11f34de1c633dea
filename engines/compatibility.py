"""Where plans may run that were built for more than this device and release. Pure.

- ``version``: releases of the same major number from the built one on, and those of 10 and 11 that follow 8 and 10;
- ``hardware``: GPUs from Ampere (SM 8.0) on. TensorRT itself refuses to build such plans on a Jetson.
"""

from __future__ import annotations

import re

_SM = re.compile(r"\(SM(\d+)\)")
_AMPERE = 80
_NEXT_MAJOR = {8: 10, 10: 11}


def runs_with(built: str, here: str) -> bool:
    """Whether a version-compatible plan of the release `built` runs with `here`."""
    old, new = _numbers(built), _numbers(here)
    return bool(old and new) and new >= old and new[0] in {old[0], _NEXT_MAJOR.get(old[0])}


def runs_on(processor: str) -> bool:
    """Whether hardware-compatible plans run on a GPU as `CudaDevice.words` names it."""
    found = _SM.search(processor)
    return found is not None and int(found[1]) >= _AMPERE


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
