"""The embedded broker: amqtt in a process of its own, ``python -m edgewright.controller.embedded_broker PORT FLEET PASSWORDS``.

For machines without Mosquitto: MQTT 3.1.1, password login, the same access rules; 127.0.0.1 only. amqtt holds neither its retained messages
nor its last wills against access rules, and hands every newcomer all that anybody subscribed to; so the rules are applied inside it
(`FleetBroker`), not by its plug-ins. What remains: it forgets a session as soon as anybody connects with its client id, before it looks at
the password; and it does not notice that a client is silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path
from typing import Any

from amqtt.broker import Broker
from amqtt.contexts import Action
from amqtt.session import Session

from ..core.errors import Unfit
from .access import may_hear, may_publish
from .passwords import is_password, read_passwords

_OVERRIDDEN = ("_authenticate", "_topic_filtering", "_publish_retained_messages_for_subscription")
_USER = "edgewright-user"
SHUTDOWN_S = 2.0


class FleetBroker(Broker):  # type: ignore[misc] # amqtt carries no types
    """amqtt with the fleet's users and rules. What a session may do hangs on who logged in to it, not on what a later CONNECT claims.

    Raises:
        Unfit: ``broker-unsupported``: another amqtt, that would not ask for the rules where this class applies them.
    """

    def __init__(self, configuration: dict[str, Any], fleet: str, passwords: Path) -> None:
        missing = [name for name in (*_OVERRIDDEN, "_matches", "_get_handler") if not hasattr(Broker, name)]
        if missing:
            message = f"this version of amqtt has no {', '.join(missing)}"
            raise Unfit("broker-unsupported", message, "pip install 'amqtt>=0.12,<0.13', or install mosquitto")
        super().__init__(configuration)
        self._fleet = fleet
        self._passwords = passwords

    async def _authenticate(self, session: Session, _listener: Any) -> bool:
        """Hold a login against the password file, which may change while the broker runs; a will is a publication."""
        user = session.username or ""
        hashed = read_passwords(self._passwords).get(user)
        if hashed is None or not is_password(session.password or "", hashed):
            return False
        if session.will_flag and not may_publish(self._fleet, user, session.will_topic or ""):
            return False
        session.attributes[_USER] = user
        return True

    async def _topic_filtering(self, session: Session, topic: str, action: Action) -> bool:
        """Never gives way to other tasks: amqtt asks while it walks through its subscriptions, and they must not change under it."""
        user = session.attributes.get(_USER, "")
        return (may_publish if action == Action.PUBLISH else may_hear)(self._fleet, user, topic)

    async def _publish_retained_messages_for_subscription(self, subscription: tuple[str, int], session: Session) -> None:
        """What is retained goes to those who subscribed to it; in the background, for the reason above."""
        topic_filter, qos = subscription
        if all(subscriber is not session for subscriber, _ in self._subscriptions.get(topic_filter, ())):
            return
        user, handler = session.attributes.get(_USER, ""), self._get_handler(session)
        for name, retained in self._retained_messages.items():
            if handler is not None and self._matches(name, topic_filter) and may_hear(self._fleet, user, name):
                delivery = handler.mqtt_publish(name, retained.data, min(qos, retained.qos or 0), retain=True)
                self._tasks_queue.append(asyncio.ensure_future(delivery))


def configuration(port: int) -> dict[str, Any]:
    return {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}", "max_connections": 1000}},
        "timeout_disconnect_delay": 2,
        "plugins": {},
    }


async def serve(port: int, fleet: str, passwords: Path) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    broker = FleetBroker(configuration(port), fleet, passwords)
    await broker.start()
    await stop.wait()
    # From Python 3.12 on a server waits for every connection, also for those that amqtt has given up without closing.
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(broker.shutdown(), SHUTDOWN_S)


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    _, port, fleet, passwords = sys.argv
    asyncio.run(serve(int(port), fleet, Path(passwords)))


if __name__ == "__main__":
    main()
