"""Whether this device has power and time to spare for long work that nobody waits for."""

from __future__ import annotations

import os
from collections.abc import Callable

BUSY_SHARE = 0.75


def on_battery() -> bool:
    """Whether the device says that it runs on a battery; one that has none, or cannot tell, runs on mains power."""
    import psutil

    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return battery is not None and battery.power_plugged is False


def load_share() -> float:
    """Programs that wanted to run over the last five minutes, per processor."""
    return os.getloadavg()[1] / (os.cpu_count() or 1)


def why_not_now(*, battery: Callable[[], bool] = on_battery, load: Callable[[], float] = load_share) -> str | None:
    """None when long work may begin; else what stands against it."""
    if battery():
        return "the device runs on its battery"
    share = load()
    return f"the device is busy (load {share:.2f} per processor)" if share > BUSY_SHARE else None
