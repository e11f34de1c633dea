"""Who may say and hear what at the broker. Pure: one list of rules, for Mosquitto's file and for the embedded broker alike.

A device is known by its user name, which is its device name. It reads what is said to it and to all, and writes what devices say about
themselves; it can never publish ``desired``, ``blob`` or ``command``. The controller may do everything under its fleet.
"""

from __future__ import annotations

from ..core.wire.topics import EVERYBODY, FROM_DEVICE, PREFIX, TO_DEVICE, topic

CONTROLLER_USER = "controller"


def mosquitto_acl(fleet: str) -> str:
    """The rules as Mosquitto's ``acl_file``; ``%u`` is the user name, the fleet stands literally."""
    lines = [f"user {CONTROLLER_USER}", f"topic readwrite {PREFIX}/{fleet}/#", ""]
    lines += [f"pattern read {PREFIX}/{fleet}/%u/{channel}" for channel in TO_DEVICE]
    lines += [f"pattern write {PREFIX}/{fleet}/%u/{channel}" for channel in FROM_DEVICE]
    lines += [f"pattern read {PREFIX}/{fleet}/{EVERYBODY}/blob/+"]
    return "\n".join(lines) + "\n"


def may_publish(fleet: str, user: str, name: str) -> bool:
    if user == CONTROLLER_USER:
        return name.startswith(f"{PREFIX}/{fleet}/")
    return any(name == topic(fleet, user, channel) for channel in FROM_DEVICE)


def may_subscribe(fleet: str, user: str, topic_filter: str) -> bool:
    """Whether `user` may hear all that `topic_filter` covers."""
    if user == CONTROLLER_USER:
        return topic_filter.startswith(f"{PREFIX}/{fleet}/")
    if any(topic_filter == topic(fleet, user, channel) for channel in TO_DEVICE):
        return True
    stream = f"{PREFIX}/{fleet}/{EVERYBODY}/blob/"
    return topic_filter.startswith(stream) and "#" not in topic_filter
