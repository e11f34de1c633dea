"""Who may say and hear what at the broker. Pure: one list of rules, for Mosquitto's file and for the embedded broker alike.

A device is known by its user name, which is its device name. It hears what is said to it and blobs that are broadcast, and says what devices say
about themselves; it can never publish ``desired``, ``blob`` or ``command``, nor hear another device. The controller may do all under its fleet.
"""

from __future__ import annotations

from ..core.digest import is_digest
from ..core.wire.topics import FROM_DEVICE, PREFIX, TO_DEVICE, broadcast_topic, topic

CONTROLLER_USER = "controller"


def mosquitto_acl(fleet: str) -> str:
    """The rules as Mosquitto's ``acl_file``; ``%u`` is the user name, the fleet stands literally."""
    lines = [f"user {CONTROLLER_USER}", f"topic readwrite {PREFIX}/{fleet}/#", ""]
    lines += [f"pattern read {PREFIX}/{fleet}/%u/{channel}" for channel in TO_DEVICE]
    lines.append(f"pattern read {PREFIX}/{fleet}/_all/blob/+")
    lines += [f"pattern write {PREFIX}/{fleet}/%u/{channel}" for channel in FROM_DEVICE]
    return "\n".join(lines) + "\n"


def may_publish(fleet: str, user: str, name: str) -> bool:
    """Whether `user` may publish on the topic `name`, by itself or by its last will."""
    if user == CONTROLLER_USER:
        return name.startswith(f"{PREFIX}/{fleet}/")
    return any(name == topic(fleet, user, channel) for channel in FROM_DEVICE)


def may_hear(fleet: str, user: str, topic_filter: str) -> bool:
    """Whether `user` may hear all that `topic_filter` covers; a topic is a filter that covers itself."""
    if user == CONTROLLER_USER:
        return topic_filter.startswith(f"{PREFIX}/{fleet}/")
    start, _, digest = topic_filter.rpartition("/")
    if f"{start}/" == broadcast_topic(fleet, ""):
        return is_digest(digest)
    return any(topic_filter == topic(fleet, user, channel) for channel in TO_DEVICE)
