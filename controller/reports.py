"""What people and programs read of a fleet: views of the database. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import select

from ..core.errors import Reason, Rejected
from ..core.nearest import nearest_hint
from ..core.profile import ProfileReport, decode_report
from ..core.wire.messages import TERMINAL_STATES, Capabilities, Event, Measurement, ModelReport, Reply, Reported
from .database import Database
from .tables import CommandRow, Deployment, Device, EventRow, ProfilePartRow, Target


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """One device as it last was."""

    name: str
    online: bool
    seen_s: float | None
    session: int
    capabilities: Capabilities | None
    reported: Reported | None


class TargetView(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment on one device; `state` is None until the device has said something. `progress` is what it last told of a build under way."""

    device: str
    state: str | None
    attempt: int
    updated_s: float | None
    reason: Reason | None
    measurement: Measurement | None
    progress: float | None = None
    progress_note: str = ""

    @property
    def is_over(self) -> bool:
        return self.state in TERMINAL_STATES


class DeploymentView(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment and where it stands."""

    deployment: str
    model: str
    version: str
    created_s: float
    devices: tuple[TargetView, ...]


class Reports:
    """Reads; each method is one consistent look."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def devices(self, names: Sequence[str] | None = None) -> list[DeviceView]:
        """Those that are named; None = all of them."""
        query = select(Device).order_by(Device.name)
        if names is not None:
            query = query.where(Device.name.in_(names))
        with self._database.reading() as session:
            return [
                DeviceView(
                    name=row.name,
                    online=row.online,
                    seen_s=row.seen_s,
                    session=row.session,
                    capabilities=None if row.capabilities is None else msgspec.json.decode(row.capabilities, type=Capabilities),
                    reported=None if row.reported is None else msgspec.json.decode(row.reported, type=Reported),
                )
                for row in session.scalars(query)
            ]

    def deployment(self, identity: str) -> DeploymentView:
        """One deployment by its id, or ``latest``.

        Raises:
            Rejected: ``deployment-unknown``.
        """
        with self._database.reading() as session:
            known = list(session.scalars(select(Deployment.id).order_by(Deployment.created_s)))
            if identity == "latest" and known:
                identity = known[-1]
            row = session.get(Deployment, identity)
            if row is None:
                hint = nearest_hint(identity, known) if known else "Nothing was deployed yet"
                raise Rejected("deployment-unknown", f"there is no deployment {identity!r}", hint)
            targets = list(session.scalars(select(Target).where(Target.deployment == identity).order_by(Target.device)))
            building = [target.device for target in targets if target.state == "OPTIMIZING"]
            said = {device.name: device.reported for device in session.scalars(select(Device).where(Device.name.in_(building)))}
            return DeploymentView(
                deployment=row.id,
                model=row.model,
                version=row.version,
                created_s=row.created_s,
                devices=tuple(_target(target, _build_of(row, said.get(target.device))) for target in targets),
            )

    def events(self, deployment: str | None = None, after: int = 0) -> list[tuple[int, Event]]:
        """Events with row numbers above `after`, as they came in."""
        query = select(EventRow.id, EventRow.body).where(EventRow.id > after).order_by(EventRow.id)
        if deployment is not None:
            query = query.where(EventRow.deployment == deployment)
        with self._database.reading() as session:
            return [(number, msgspec.json.decode(body, type=Event)) for number, body in session.execute(query)]

    def reply(self, command: str) -> Reply | None:
        """The reply to a command; None = none yet."""
        with self._database.reading() as session:
            row = session.get(CommandRow, command)
            return None if row is None or row.reply is None else msgspec.json.decode(row.reply, type=Reply)

    def profile(self, command: str) -> ProfileReport | None:
        """The whole, checked answer to a command ``profile``; None while pieces are missing.

        Raises:
            Rejected: ``profile-malformed`` and the like: what the device sent is no profile.
        """
        with self._database.reading() as session:
            rows = list(session.scalars(select(ProfilePartRow).where(ProfilePartRow.command == command).order_by(ProfilePartRow.part)))
        if not rows or [row.part for row in rows] != list(range(rows[0].parts)):
            return None
        return decode_report(b"".join(row.data for row in rows))


def _build_of(deployment: Deployment, reported: bytes | None) -> ModelReport | None:
    """What a device's last report says of the build of `deployment`."""
    report = None if reported is None else msgspec.json.decode(reported, type=Reported).models.get(deployment.model)
    return report if report is not None and report.deployment == deployment.id else None


def _target(row: Target, build: ModelReport | None) -> TargetView:
    return TargetView(
        device=row.device,
        state=row.state,
        attempt=row.attempt,
        updated_s=row.updated_s,
        reason=None if row.reason is None else msgspec.json.decode(row.reason, type=Reason),
        measurement=None if row.measurement is None else msgspec.json.decode(row.measurement, type=Measurement),
        progress=build.progress if build is not None else None,
        progress_note=build.progress_note if build is not None else "",
    )
