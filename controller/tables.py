"""The controller's tables. Bodies that came by the wire are kept as they came, as JSON; columns are what is searched for."""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import BigInteger, Index, Integer
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

# Sequences need 53 bits; SQLite numbers rows by itself only in a column that is declared INTEGER.
BigNumber = BigInteger().with_variant(Integer(), "sqlite")


class Table(MappedAsDataclass, DeclarativeBase):
    """Base of every table."""

    type_annotation_map: ClassVar = {int: BigNumber}


class Device(Table):
    """One enrolled device and what it last said. `sequence` is the last number signed for it, `desired` the last envelope.

    `unsent_s` says since when `desired` has been signed and not yet handed to the broker; another controller does it when the signer has died.
    `certificate` has the serial numbers of its certificates, in hex, the latest last; `retired_s` says since when the device is no longer one of the
    fleet: its row stays for the history. `wipe` counts how often it shall have been wiped.
    """

    __tablename__ = "devices"

    name: Mapped[str] = mapped_column(primary_key=True)
    enrolled_s: Mapped[float]
    online: Mapped[bool] = mapped_column(default=False)
    session: Mapped[int] = mapped_column(default=0)
    boot_id: Mapped[str] = mapped_column(default="")
    seen_s: Mapped[float | None] = mapped_column(default=None)
    capabilities: Mapped[bytes | None] = mapped_column(default=None)
    reported: Mapped[bytes | None] = mapped_column(default=None)
    sequence: Mapped[int] = mapped_column(default=0)
    desired: Mapped[bytes | None] = mapped_column(default=None)
    desired_expires_s: Mapped[float] = mapped_column(default=0.0, index=True)
    goal_changed: Mapped[bool] = mapped_column(default=True, index=True)
    unsent_s: Mapped[float | None] = mapped_column(default=None, index=True)
    hardware_class: Mapped[str] = mapped_column(default="", index=True)
    certificate: Mapped[str] = mapped_column(default="")
    certificate_expires_s: Mapped[float | None] = mapped_column(default=None)
    retired_s: Mapped[float | None] = mapped_column(default=None)
    wipe: Mapped[int] = mapped_column(default=0)


class CertificateRow(Table):
    """The latest certificate of a device, in PEM; `is_reissued` says that the controller has made it by itself, and the device is to be given it."""

    __tablename__ = "certificates"

    device: Mapped[str] = mapped_column(primary_key=True)
    pem: Mapped[bytes]
    is_reissued: Mapped[bool] = mapped_column(default=False)


class LabelRow(Table):
    """One label of one device."""

    __tablename__ = "labels"

    device: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]

    __table_args__ = (Index("labels_by_value", "key", "value"),)


class Deployment(Table):
    """One model version as it was ordered; `body` is the Order."""

    __tablename__ = "deployments"

    id: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str]
    version: Mapped[str]
    created_s: Mapped[float]
    body: Mapped[bytes]


class Goal(Table):
    """Which deployment of a model a device shall have. No row = the model shall not be there. `retry` counts how often it shall be tried anew."""

    __tablename__ = "goals"

    device: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    deployment: Mapped[str]
    retry: Mapped[int] = mapped_column(default=0)


class Target(Table):
    """How far one deployment is on one device: the sum of its events and of `ending`, which reports told (`progress`).

    `sequence` is that of the latest event in the sum; 0 = not known. Attempts up to `retried_after` do not count any more: it shall be tried anew.
    """

    __tablename__ = "targets"

    deployment: Mapped[str] = mapped_column(primary_key=True)
    device: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str | None] = mapped_column(default=None)
    attempt: Mapped[int] = mapped_column(default=0)
    updated_s: Mapped[float | None] = mapped_column(default=None)
    reason: Mapped[bytes | None] = mapped_column(default=None)
    measurement: Mapped[bytes | None] = mapped_column(default=None)
    ending: Mapped[bytes | None] = mapped_column(default=None)
    sequence: Mapped[int] = mapped_column(default=0)
    retried_after: Mapped[int] = mapped_column(default=0)

    __table_args__ = (Index("targets_by_device", "device"),)


class EventRow(Table):
    """One state change, recorded once whatever the broker repeats; of each device, the oldest go first. `id` counts in the order of arrival."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(primary_key=True, init=False, autoincrement=True)
    device: Mapped[str]
    event: Mapped[str]
    sequence: Mapped[int]
    deployment: Mapped[str]
    state: Mapped[str]
    time_s: Mapped[float]
    received_s: Mapped[float]
    body: Mapped[bytes]

    __table_args__ = (
        Index("events_once", "device", "event", unique=True),
        Index("events_by_deployment", "deployment", "device", "sequence"),
        Index("events_by_device", "device", "sequence"),
    )


class TelemetryRow(Table):
    """Periodic health; of each device, the oldest go first."""

    __tablename__ = "telemetry"

    id: Mapped[int] = mapped_column(primary_key=True, init=False, autoincrement=True)
    device: Mapped[str]
    time_s: Mapped[float]
    body: Mapped[bytes]

    __table_args__ = (Index("telemetry_by_device", "device", "id"),)


class CommandRow(Table):
    """One command to one device, and its reply. `sent_s` is None while it waits to be signed and sent, for the first time or again."""

    __tablename__ = "commands"

    id: Mapped[str] = mapped_column(primary_key=True)
    device: Mapped[str]
    verb: Mapped[str]
    deployment: Mapped[str | None]
    model: Mapped[str | None]
    created_s: Mapped[float]
    sent_s: Mapped[float | None] = mapped_column(default=None)
    reply: Mapped[bytes | None] = mapped_column(default=None)

    __table_args__ = (Index("commands_by_device", "device"), Index("commands_waiting", "sent_s"))


class ProfileRow(Table):
    """What a command ``profile`` orders: `body` is the ProfileOrder."""

    __tablename__ = "profiles"

    command: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[bytes]


class ProfilePartRow(Table):
    """One piece of the answer to a command ``profile``."""

    __tablename__ = "profile_parts"

    command: Mapped[str] = mapped_column(primary_key=True)
    part: Mapped[int] = mapped_column(primary_key=True)
    parts: Mapped[int]
    data: Mapped[bytes]
