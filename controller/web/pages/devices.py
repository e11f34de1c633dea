"""The list of devices: searched and parted into pages by the database."""

from __future__ import annotations

from dataclasses import dataclass

from ....core.errors import EdgewrightError
from ...inventory import ClassCount, DevicePage, DeviceQuery, parse_labels
from ..access import Caller
from ..asked import Asked
from ..site import Site

PAGE = 50


@dataclass(frozen=True, slots=True)
class DevicesView:
    """One page of the list; `fields` are those of the search form, `next` begins the next page."""

    page: DevicePage
    classes: tuple[ClassCount, ...]
    text: str
    label: str
    hardware_class: str
    presence: str
    after: str
    next: str | None
    problem: EdgewrightError | None


def show(site: Site, asked: Asked, _caller: Caller) -> DevicesView:
    text, label, hardware_class, presence = (asked.first(name).strip()[:200] for name in ("text", "label", "class", "presence"))
    after, problem = asked.first("after")[:200], None
    try:
        labels = parse_labels(tuple(label.split())) if label else {}
    except EdgewrightError as error:
        labels, problem = {}, error
    query = DeviceQuery(
        text=text,
        labels=labels,
        hardware_class=hardware_class or None,
        online={"online": True, "offline": False}.get(presence),
        retired=presence == "retired",
    )
    page = site.inventory.search(query, after=after, limit=PAGE)
    return DevicesView(
        page=page,
        classes=tuple(site.inventory.hardware_classes()),
        text=text,
        label=label,
        hardware_class=hardware_class,
        presence=presence,
        after=after,
        next=page.devices[-1].name if len(page.devices) == PAGE else None,
        problem=problem,
    )
