"""The embedded broker: amqtt in a process of its own, ``python -m edgewright.controller.embedded_broker PORT FLEET PASSWORDS``.

For machines without Mosquitto: MQTT 3.1.1, password login, the same access rules; 127.0.0.1 only.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amqtt.broker import Broker
from amqtt.contexts import Action
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from .access import may_publish, may_subscribe
from .passwords import is_password, read_passwords

_MODULE = "edgewright.controller.embedded_broker"  # amqtt imports its plugins by name, also when this file runs as __main__


class PasswordPlugin(BaseAuthPlugin):  # type: ignore[misc] # amqtt carries no types
    """Holds every login against the password file, which may change while the broker runs."""

    @dataclass
    class Config:
        """Where the password file is."""

        path: str = ""

    async def authenticate(self, *, session: Session) -> bool | None:
        hashed = read_passwords(Path(self.config.path)).get(session.username or "")
        return hashed is not None and is_password(session.password or "", hashed)


class AccessPlugin(BaseTopicPlugin):  # type: ignore[misc] # see above
    """Applies the rules of `access`."""

    @dataclass
    class Config:
        """Whose rules."""

        fleet: str = ""

    async def topic_filtering(self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None) -> bool | None:
        fleet, user = self.config.fleet, (session.username if session is not None else None) or ""
        if action == Action.PUBLISH:
            return may_publish(fleet, user, topic or "")
        # A delivery was allowed when its subscription was.
        return action == Action.RECEIVE or may_subscribe(fleet, user, topic or "")


def configuration(port: int, fleet: str, passwords: Path) -> dict[str, Any]:
    return {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}", "max_connections": 1000}},
        "timeout_disconnect_delay": 2,
        "plugins": {
            f"{_MODULE}.PasswordPlugin": {"path": str(passwords)},
            f"{_MODULE}.AccessPlugin": {"fleet": fleet},
        },
    }


async def serve(port: int, fleet: str, passwords: Path) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    broker = Broker(configuration(port, fleet, passwords))
    await broker.start()
    await stop.wait()
    await broker.shutdown()


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    _, port, fleet, passwords = sys.argv
    asyncio.run(serve(int(port), fleet, Path(passwords)))


if __name__ == "__main__":
    main()
