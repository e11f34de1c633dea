"""The devices of a fleet as people look for them: labels, hardware classes, presence; and the choice of devices for an order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec
from sqlalchemy import ColumnElement, and_, case, exists, func, or_, select
from sqlalchemy.orm import Session

from ..core.errors import Rejected
from ..core.nearest import nearest_hint
from .audit import note
from .database import Database
from .rollout_tables import MemberRow
from .tables import Device, Goal, LabelRow
from .waves import Member

MAX_LABELS = 64
MAX_PAGE = 1000
_KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VALUE = re.compile(r"[A-Za-z0-9 ._:/+@-]{1,128}")


class Selector(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which devices are meant: all that have every label and the hardware class, and are among `devices` where some are named. Empty = all."""

    devices: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    hardware_class: str | None = None

    def words(self) -> str:
        """For people."""
        parts = [*self.devices[:3], *(["…"] if len(self.devices) > 3 else []), *(f"{key}={value}" for key, value in self.labels.items())]
        return " ".join([*parts, *([f"class {self.hardware_class}"] if self.hardware_class else [])]) or "all devices"


class DeviceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a list of devices; `models` says which deployment of each model is its goal."""

    name: str
    online: bool
    seen_s: float | None
    hardware_class: str
    labels: dict[str, str]
    models: dict[str, str]
    retired_s: float | None
    certificate_expires_s: float | None


class DevicePage(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a list in the order of names; `total` counts all that match."""

    devices: tuple[DeviceSummary, ...]
    total: int


class DeviceQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is looked for: `text` in the name, the hardware class or a label's value."""

    text: str = ""
    labels: dict[str, str] = {}
    hardware_class: str | None = None
    online: bool | None = None
    retired: bool = False


class ClassCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many devices of one hardware class there are; an empty name = they have not said yet."""

    hardware_class: str
    devices: int
    online: int


def parse_labels(texts: tuple[str, ...]) -> dict[str, str]:
    """``KEY=VALUE`` texts.

    Raises:
        Rejected: ``label-malformed``.
    """
    labels: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise Rejected("label-malformed", f"{text!r} is no label", "Write KEY=VALUE")
        labels[key] = value
    return check_labels(labels)


def check_labels(labels: dict[str, str]) -> dict[str, str]:
    """`labels` themselves when they may be kept.

    Raises:
        Rejected: ``label-malformed``.
    """
    for key, value in labels.items():
        if not _KEY.fullmatch(key):
            raise Rejected("label-malformed", f"{key!r} cannot name a label", "Use 1 to 64 of a-z, 0-9, '.', '_' and '-'")
        if not _VALUE.fullmatch(value):
            raise Rejected("label-malformed", f"{value!r} cannot be the value of {key}", "Use 1 to 128 letters, digits, spaces and ._:/+@-")
    return labels


def members(session: Session, selector: Selector) -> list[Member]:
    """The devices that `selector` means, in the order of their names.

    Raises:
        Rejected: ``device-unknown``: a named device is not enrolled; ``label-malformed``; ``no-device-selected``.
    """
    check_labels(selector.labels)
    if selector.devices:
        _check_known(session, selector.devices)
    query = select(Device.name, Device.hardware_class).where(_meant(selector)).order_by(Device.name)
    found = [Member(name, hardware_class) for name, hardware_class in session.execute(query)]
    if not found:
        raise Rejected("no-device-selected", f"no device of this fleet fits: {selector.words()}", "edgewright fleet devices shows labels and classes")
    return found


def joiners(session: Session, selector: Selector, rollout: str) -> list[Member]:
    """Devices that `selector` means and that are not members of `rollout` yet."""
    is_member = exists().where(MemberRow.rollout == rollout, MemberRow.device == Device.name)
    query = select(Device.name, Device.hardware_class).where(_meant(selector), ~is_member).order_by(Device.name)
    return [Member(name, hardware_class) for name, hardware_class in session.execute(query)]


def _check_known(session: Session, names: tuple[str, ...]) -> None:
    known = set(session.scalars(select(Device.name).where(Device.retired_s.is_(None))))
    for name in names:
        if name not in known:
            hint = nearest_hint(name, sorted(known)) if known else "Enroll it first: edgewright fleet enroll"
            raise Rejected("device-unknown", f"no device {name!r} is enrolled", hint)


def _meant(selector: Selector) -> ColumnElement[bool]:
    parts: list[ColumnElement[bool]] = [Device.retired_s.is_(None)]
    if selector.devices:
        parts.append(Device.name.in_(selector.devices))
    if selector.hardware_class is not None:
        parts.append(Device.hardware_class == selector.hardware_class)
    return and_(*parts, *(_has_label(key, value) for key, value in selector.labels.items()))


def _has_label(key: str, value: str) -> ColumnElement[bool]:
    return exists().where(LabelRow.device == Device.name, LabelRow.key == key, LabelRow.value == value)


class Inventory:
    """Looks at devices, and sets their labels."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set_labels(self, device: str, changes: Mapping[str, str | None], actor: str, now_s: float) -> dict[str, str]:
        """Set labels, or take those away whose value is None; returns what the device has then.

        Raises:
            Rejected: ``device-unknown``, ``label-malformed``, ``too-many-labels``.
        """
        check_labels({key: value for key, value in changes.items() if value is not None})
        with self._database.transaction() as session:
            _check_known(session, (device,))
            for key, value in changes.items():
                row = session.get(LabelRow, (device, key))
                if value is not None:
                    session.merge(LabelRow(device=device, key=key, value=value))
                elif row is not None:
                    session.delete(row)
            session.flush()
            labels = _labels(session, [device]).get(device, {})
            if len(labels) > MAX_LABELS:
                raise Rejected("too-many-labels", f"{device} would have {len(labels)} labels, {MAX_LABELS} are allowed", "Take some away")
            words = " ".join(f"{key}={value}" if value is not None else f"-{key}" for key, value in changes.items())
            note(session, actor, "device.label", device, now_s, words)
        return labels

    def search(self, query: DeviceQuery, *, after: str = "", limit: int = 100) -> DevicePage:
        """Devices that match, whose names come after `after`, at most `limit` of them."""
        matching = _matching(query)
        with self._database.reading() as session:
            total = session.scalar(select(func.count()).select_from(Device).where(matching)) or 0
            rows = list(session.scalars(select(Device).where(matching, Device.name > after).order_by(Device.name).limit(min(limit, MAX_PAGE))))
            names = [row.name for row in rows]
            labels, models = _labels(session, names), _models(session, names)
            devices = tuple(
                DeviceSummary(
                    name=row.name,
                    online=row.online,
                    seen_s=row.seen_s,
                    hardware_class=row.hardware_class,
                    labels=labels.get(row.name, {}),
                    models=models.get(row.name, {}),
                    retired_s=row.retired_s,
                    certificate_expires_s=row.certificate_expires_s,
                )
                for row in rows
            )
        return DevicePage(devices=devices, total=total)

    def selected(self, selector: Selector) -> list[Member]:
        """As `members`."""
        with self._database.reading() as session:
            return members(session, selector)

    def hardware_classes(self) -> list[ClassCount]:
        online = func.sum(case((Device.online, 1), else_=0))
        query = select(Device.hardware_class, func.count(), online).where(Device.retired_s.is_(None)).group_by(Device.hardware_class)
        with self._database.reading() as session:
            rows = session.execute(query.order_by(Device.hardware_class)).all()
        return [ClassCount(hardware_class=name, devices=count, online=int(up or 0)) for name, count, up in rows]


def _matching(query: DeviceQuery) -> ColumnElement[bool]:
    parts: list[ColumnElement[bool]] = [Device.retired_s.is_not(None) if query.retired else Device.retired_s.is_(None)]
    if query.text:
        in_label = exists().where(LabelRow.device == Device.name, LabelRow.value.icontains(query.text, autoescape=True))
        inside = (Device.name.icontains(query.text, autoescape=True), Device.hardware_class.icontains(query.text, autoescape=True))
        parts.append(or_(*inside, in_label))
    if query.hardware_class is not None:
        parts.append(Device.hardware_class == query.hardware_class)
    if query.online is not None:
        parts.append(Device.online.is_(query.online))
    return and_(*parts, *(_has_label(key, value) for key, value in query.labels.items()))


def _labels(session: Session, names: list[str]) -> dict[str, dict[str, str]]:
    query = select(LabelRow).where(LabelRow.device.in_(names))
    return _grouped((row.device, row.key, row.value) for row in session.scalars(query))


def _models(session: Session, names: list[str]) -> dict[str, dict[str, str]]:
    query = select(Goal).where(Goal.device.in_(names))
    return _grouped((row.device, row.model, row.deployment) for row in session.scalars(query))


def _grouped(rows: Iterable[tuple[str, str, str]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for device, key, value in rows:
        found.setdefault(device, {})[key] = value
    return found
