"""Bad links, one after the other, under a real agent that downloads through the proxy: does it come to the end, and how soon after the fault's."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgewright.controller.packing import MODEL_NAME, pack_model
from edgewright.core.wire.messages import Order
from edgewright.core.wire.topics import topic

from .engines import small_model
from .ground import DEVICE, FLEET, Ground
from .proxy import Proxy, Weather

MB = 1e6
SPEED = 0.5 * MB
"""Of the link in the fault's time: a download takes longer than the fault."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """`fault_s` it lasted; `recovery_s` from its end to a deployment that has succeeded and an agent that has nothing left to say."""

    fault: str
    fault_s: float
    recovery_s: float
    chunks: int
    twice: int


@dataclass(frozen=True, slots=True)
class Rate:
    """`share` is of the link's rate, between the first chunk's request and the last one's arrival."""

    link: str
    megabytes: float
    seconds: float
    share: float
    twice: int


def order_of(ground: Ground, name: str, size: int) -> Order:
    """A deployment of `size` × `size` floats of its own."""
    path = small_model(ground.folder / f"{name}.onnx", seed=sum(name.encode()), size=size)
    return Order(deployment=name, version="good", model=pack_model(ground.blobs, path), model_file=MODEL_NAME, recipe="none", probation_s=0.05)


class Links:
    """Faults on one ground, whose agent goes through `proxy`."""

    def __init__(self, ground: Ground, *, fault_s: float = 8.0) -> None:
        self._ground = ground
        self.proxy = Proxy(ground.broker.port)
        ground.port = self.proxy.port
        self._fault_s = fault_s
        self._count = 0

    def close(self) -> None:
        self.proxy.close()

    def faults(self) -> dict[str, Callable[[], None]]:
        """Each begins a fault in the middle of a download, and returns when it is over."""
        weather = self._weather
        return {
            "no fault": lambda: None,
            "resets, one a second": self._resets,
            "black hole": weather(is_deaf=True),
            "no connection": self._closed,
            "1 KB/s": weather(bytes_per_s=1000.0),
            "20 % of the chunks lost": weather(lost=0.2),
            "20 % of the chunks doubled": weather(doubled=0.2),
            "20 % of the chunks swapped": weather(swapped=0.2),
            "half-open connection": self._half_open,
            "broker killed": self._kill_broker,
            "another's junk retained": self._junk,
        }

    def tell(self, name: str, fault: Callable[[], None], size: int = 1300) -> Recovery:
        """A deployment of 6.8 MB, of which the fault hits the middle."""
        ground = self._ground
        self._count += 1
        self.proxy.weather = Weather(bytes_per_s=SPEED)
        ground.fresh()
        wanted = order_of(ground, f"l{self._count}", size)
        digest = wanted.model.files[MODEL_NAME].digest
        ground.start()
        ground.want(wanted)
        ground.until(lambda: sum(key == digest for key, _ in ground.served) > 8, "the middle of the download")
        began_s = time.monotonic()
        fault()
        ended_s = time.monotonic()
        self.proxy.weather = Weather()
        ground.until(lambda: ground.states(wanted.deployment)[-1:] == ["SUCCEEDED"] and ground.is_at_rest(), f"the end after {name}", 120.0)
        recovery_s = time.monotonic() - ended_s
        assert ground.stop() == 0
        twice = sum(number - 1 for number in ground.served.values())
        return Recovery(name, ended_s - began_s, recovery_s, len(ground.served), twice)

    def _weather(self, **fields: object) -> Callable[[], None]:
        def fault() -> None:
            self.proxy.weather = Weather(**({"bytes_per_s": SPEED} | fields))  # type: ignore[arg-type]
            time.sleep(self._fault_s)

        return fault

    def _resets(self) -> None:
        for _ in range(int(self._fault_s)):
            self.proxy.reset()
            time.sleep(1.0)

    def _closed(self) -> None:
        self.proxy.weather = Weather(is_closed=True)
        self.proxy.reset()
        time.sleep(self._fault_s)

    def _half_open(self) -> None:
        """The agent has to find out by itself: nothing ends."""
        self.proxy.forget()

    def _kill_broker(self) -> None:
        broker = self._ground.broker
        process = broker._process  # noqa: SLF001 - nobody else may kill it
        assert process is not None
        os.kill(process.pid, 9)
        process.wait()
        time.sleep(self._fault_s)
        broker._wanted_port = broker.port  # noqa: SLF001
        broker.start()
        # A broker that remembers nothing: its controller announces the goal again.
        self._ground.until(lambda: self._ground.is_up, "the controller's link")
        self._ground.want_again()

    def _junk(self) -> None:
        """What another project left at this broker: on our topics, retained and not."""
        chance = random.Random(3)
        goal = self._ground.wanted
        for channel in ("desired", "command", "blob"):
            for junk in (b"{}", b'{"v": 99}', b"\xff" * 100, b"[" * 60_000, chance.randbytes(60_000), b"\x01\x00" + chance.randbytes(5000)):
                self._ground.say(topic(FLEET, DEVICE, channel), junk, retain=True)  # type: ignore[arg-type]
        self.proxy.reset()  # a connect gets what is retained
        time.sleep(self._fault_s)
        assert goal is not None
        self._ground.want_again()

    def rate(self, link: str, megabytes: float, weather: Weather) -> Rate:
        """How much of the link's rate a transfer of about `megabytes` uses."""
        ground = self._ground
        assert weather.bytes_per_s is not None
        self._count += 1
        self.proxy.weather = weather
        ground.fresh()
        wanted = order_of(ground, f"r{self._count}", int((megabytes * MB / 4) ** 0.5))
        ground.start()
        ground.want(wanted)
        blob = wanted.model.files[MODEL_NAME]
        ground.until(lambda: any(key == blob.digest for key, _ in ground.served), "the first chunk")
        began_s = time.monotonic()
        partial = ground.state / "blobs" / blob.digest
        ground.until(partial.exists, "the last chunk", 300.0)
        seconds = time.monotonic() - began_s
        ground.until(lambda: ground.states(wanted.deployment)[-1:] == ["SUCCEEDED"] and ground.is_at_rest(), "the end", 60.0)
        assert ground.stop() == 0
        share = blob.size_bytes / seconds / weather.bytes_per_s
        return Rate(link, blob.size_bytes / MB, seconds, share, sum(number - 1 for number in ground.served.values()))


def ground_for_links(folder: Path, notify: str = "") -> Ground:
    """With the agent's own limits of the connection."""
    return Ground(folder, broker="", notify=notify)
