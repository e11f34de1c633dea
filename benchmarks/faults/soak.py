"""One agent's share of the soak: deployments of every kind, one after the other, with kills, bad links and dead brokers at random moments in
between.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from edgewright.core.wire.messages import TERMINAL_STATES, Order

from .links import SPEED, Links, ground_for_links, order_of
from .proxy import Weather

SIZES = (40, 340, 700)
# What each kind of order must end as, when nothing else ends it first.
VERSIONS = {"good": {"SUCCEEDED"}, "broken": {"REJECTED"}, "unloadable": {"FAILED"}}
SETTLE_S = 120.0
WORST_FAULT_S = 6.0


class Soak:
    """Runs on a thread of its own; `wrong` is empty when nothing was. A context manager."""

    def __init__(self, folder: Path, seed: int, seconds: float) -> None:
        self._chance = random.Random(seed)
        self._seconds = seconds
        self._folder = folder
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.worst_s = 0.0
        self._thread = threading.Thread(target=self._guarded)
        self._thread.start()

    def wait(self) -> None:
        self._thread.join()

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.wrong.append(f"{type(error).__name__}: {error}")

    def _run(self) -> None:
        with ground_for_links(self._folder) as ground:
            self._ground, self._links = ground, Links(ground)
            ground.fresh()
            ground.start()
            deadline_s, number = time.monotonic() + self._seconds, 0
            while time.monotonic() < deadline_s and not self.wrong:
                number += 1
                self._deploy(number)
            if ground.stop() != 0:
                self.wrong.append("it did not end in order")
            self._links.close()

    def _deploy(self, number: int) -> None:
        ground = self._ground
        version = self._chance.choice(list(VERSIONS))
        order = self._order(number, version)
        ground.want(order)
        self.counts[f"{version} orders"] += 1
        for _ in range(self._chance.randrange(4)):
            self._fault()
        self._links.proxy.weather = Weather()
        quiet_s = time.monotonic()
        if self._chance.random() < 0.2 and not self._is_over(order):
            ground.command("cancel", order.deployment)
            self.counts["cancels"] += 1
        ground.until(lambda: self._is_over(order) and ground.is_at_rest(), f"the end of {order.deployment}", SETTLE_S)
        self.worst_s = max(self.worst_s, time.monotonic() - quiet_s)
        self._judge(order, version)

    def _order(self, number: int, version: str) -> Order:
        name = "unloadable" if version == "unloadable" else "d"
        order = order_of(self._ground, f"{name}{number}", self._chance.choice(SIZES))
        import msgspec

        return msgspec.structs.replace(order, version=version, probation_s=self._chance.choice((0.05, 2.0)))

    def _is_over(self, order: Order) -> bool:
        return self._ground.states(order.deployment)[-1:] != [] and self._ground.states(order.deployment)[-1] in TERMINAL_STATES

    def _fault(self) -> None:
        ground, chance, proxy = self._ground, self._chance, self._links.proxy
        kind = chance.choice(("kill", "kill", "reset", "deaf", "closed", "thin", "lossy", "broker", "calm"))
        self.counts[kind] += 1
        if kind == "kill":
            with suppress(ProcessLookupError):
                os.kill(ground.lives[-1], signal.SIGKILL)
            ground.until(lambda: not ground.is_dead, "another life")
        elif kind == "reset":
            proxy.reset()
        elif kind == "broker":
            self._kill_broker()
        else:
            proxy.weather = {
                "deaf": Weather(is_deaf=True),
                "closed": Weather(is_closed=True),
                "thin": Weather(bytes_per_s=SPEED / 10, delay_s=0.2),
                "lossy": Weather(lost=0.2, doubled=0.1, swapped=0.1),
                "calm": Weather(),
            }[kind]
        ground.until(_after(chance.uniform(0.0, WORST_FAULT_S / 2)), "time")

    def _kill_broker(self) -> None:
        ground = self._ground
        process = ground.broker._process  # noqa: SLF001 - nobody else may kill it
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        ground.broker._wanted_port = ground.broker.port  # noqa: SLF001
        ground.broker.start()
        ground.until(lambda: ground.is_up, "the controller's link")
        ground.want_again()

    def _judge(self, order: Order, version: str) -> None:
        ground = self._ground
        states = ground.states(order.deployment)
        if states[-1] not in VERSIONS[version] | {"CANCELED", "FAILED"}:
            self.wrong.append(f"{order.deployment} ended {states}")
        if states.count("ACTIVATING") > 1:
            self.wrong.append(f"{order.deployment} was activated {states.count('ACTIVATING')} times")
        if ground.contradictions:
            self.wrong.append(f"told in two ways: {ground.contradictions}")
        link = ground.state / "models" / "surface" / "current"
        if link.is_symlink() and not (link / "manifest.json").is_file():
            self.wrong.append(f"after {order.deployment} the link leads nowhere")
        left = [path.name for part in ("work", "partial", "outbox") if (ground.state / part).is_dir() for path in (ground.state / part).iterdir()]
        if left:
            self.wrong.append(f"after {order.deployment} {left} is left")


def _after(seconds: float) -> Callable[[], bool]:
    due_s = time.monotonic() + seconds
    return lambda: time.monotonic() >= due_s
