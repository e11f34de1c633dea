"""What shall be on the devices: deployments, each device's goal, commands; and the signed messages that say it."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec
from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from ..core.errors import Reason, Rejected, error_from_reason
from ..core.nearest import nearest_hint
from ..core.profile import ProfileOrder
from ..core.trust import Sign, seal
from ..core.wire.fields import MAX_COUNT
from ..core.wire.messages import Command, Desired, Order, encode
from ..core.wire.topics import check_name
from .audit import note
from .database import Database
from .goals import Wanted, check_fits, goals_of, portions, set_goals
from .rollout_tables import MemberRow
from .tables import CertificateRow, CommandRow, Deployment, Device, Goal, ProfileRow, Target

DESIRED_LIFE_S = 7 * 86400.0
COMMAND_LIFE_S = 600.0
UNSENT_S = 5.0
BATCH = 100
MAX_CERTIFICATES = 32

Verb = Literal["cancel", "rollback", "release", "report", "profile"]
Addressed = tuple[str, bytes]
"""A device and an envelope for it."""


class Orders:
    """Writes goals, and signs what the serving process has to publish.

    Sequence numbers are UNIX seconds where that is more than one above the last: a database that was lost or restored does not start below
    what devices have accepted already. What a person orders has an `actor`, and then its line in the audit log, in the same transaction.
    """

    def __init__(self, database: Database, fleet: str) -> None:
        self._database = database
        self._fleet = fleet

    def enroll(self, device: str, now_s: float, certificate: str = "", certificate_expires_s: float | None = None, pem: bytes = b"") -> None:
        """Add the device. One that is enrolled already keeps its goals and its history and starts anew: it may be another board."""
        check_name(device, what="device")
        with self._database.transaction() as session:
            known = session.get(Device, device)
            if known is None:
                session.add(Device(name=device, enrolled_s=now_s, certificate=certificate, certificate_expires_s=certificate_expires_s))
            else:
                known.certificate, known.certificate_expires_s = certificate, certificate_expires_s
                known.online, known.session, known.goal_changed, known.retired_s = False, 0, True, None
                known.reported = None
                _begin_anew(session, device, now_s)
            session.merge(CertificateRow(device=device, pem=pem))

    def enroll_many(self, devices: Sequence[str], now_s: float) -> None:
        """Add devices of which none is enrolled yet, in one transaction."""
        with self._database.transaction() as session:
            session.add_all(Device(name=check_name(name, what="device"), enrolled_s=now_s) for name in devices)

    def certificates(self, device: str, *, must_exist: bool = False) -> tuple[str, ...]:
        """The serial numbers of every certificate that the device may log in with, the latest last.

        Raises:
            Rejected: ``device-unknown``.
        """
        with self._database.reading() as session:
            if must_exist:
                self._existing(session, [device])
            known = session.get(Device, device)
            return () if known is None else tuple(known.certificate.split())

    def certified(self, device: str, serial: str, expires_s: float, pem: bytes, *, is_reissued: bool = False) -> None:
        """The device has a new certificate beside those that it had, which are good until they expire or its access is taken. One that was reissued
        for its old key is sent to it with its goal.
        """
        with self._database.transaction() as session:
            session.merge(CertificateRow(device=device, pem=pem, is_reissued=is_reissued))
            row = session.get_one(Device, device)
            row.goal_changed = row.goal_changed or is_reissued
            row.certificate = " ".join((*row.certificate.split()[1 - MAX_CERTIFICATES :], serial))
            row.certificate_expires_s = expires_s

    def expiring(self, before_s: float, limit: int = BATCH) -> list[tuple[str, str, bytes]]:
        """Devices whose latest certificate expires before then: name, its serial number, the certificate."""
        due = Device.retired_s.is_(None) & (Device.certificate_expires_s < before_s) & (CertificateRow.pem != b"")
        query = select(Device.name, Device.certificate, CertificateRow.pem).join(CertificateRow, CertificateRow.device == Device.name).where(due)
        with self._database.reading() as session:
            rows = session.execute(query.order_by(Device.certificate_expires_s).limit(limit))
            return [(name, serials.split()[-1], pem) for name, serials, pem in rows if serials]

    def retire(self, device: str, now_s: float, actor: str = "") -> None:
        """The device leaves the fleet: it has no goal any more, and no order means it; its history stays.

        Raises:
            Rejected: ``device-unknown``.
        """
        with self._database.transaction() as session:
            self._existing(session, [device])
            for model in goals_of(session, [device]).get(device, {}):
                self._set(session, model, {device: None}, now_s)
            gone = {"retired_s": now_s, "online": False, "certificate": "", "certificate_expires_s": None}
            session.execute(update(Device).where(Device.name == device).values(**gone))
            _note(session, actor, "device.retire", device, now_s)

    def wipe(self, device: str, now_s: float, actor: str = "") -> tuple[int, int]:
        """Take every model from the device's goal, and let it erase what it has made and measured. Returns how many models there were, and the
        number of this wipe, which the device reports when it is done.

        Raises:
            Rejected: ``device-unknown``.
        """
        with self._database.transaction() as session:
            self._existing(session, [device])
            models = goals_of(session, [device]).get(device, {})
            for model in models:
                self._set(session, model, {device: None}, now_s)
            row = session.get_one(Device, device)
            row.wipe, row.goal_changed = row.wipe + 1, True
            _note(session, actor, "device.wipe", device, now_s, f"{len(models)} models")
            return len(models), row.wipe

    def deploy(self, model: str, order: Order, devices: Sequence[str], now_s: float, actor: str = "") -> None:
        """Make `order` the goal for `model` on `devices` (none named: on all); whatever was the goal there is superseded.

        Raises:
            Rejected: ``device-unknown``, ``message-too-large``, ``bad-name``, ``artifact-malformed``, ``message-malformed``.
        """
        with self._database.transaction() as session:
            names = self._existing(session, devices)
            self.add_deployment(session, model, order, now_s)
            self._set(session, model, dict.fromkeys(names, Wanted(order.deployment)), now_s)
            _note(session, actor, "deployment.start", order.deployment, now_s, f"{model} {order.version} to {len(names)} devices")

    def _set(self, session: Session, model: str, wanted: Mapping[str, Wanted | None], now_s: float) -> None:
        for reason in self.set_goals(session, model, wanted, now_s).values():
            raise error_from_reason(reason)

    def add_deployment(self, session: Session, model: str, order: Order, now_s: float) -> None:
        """Write the deployment down; nobody has it as a goal yet.

        Raises:
            Rejected: as `deploy`.
        """
        check_name(model, what="model")
        body = msgspec.json.encode(order)
        try:
            msgspec.json.decode(body, type=Order)
        except msgspec.ValidationError as error:
            raise Rejected("message-malformed", f"devices would refuse this order: {error}", "Give a value within the bounds") from error
        check_fits(Desired(fleet=self._fleet, device="x", sequence=MAX_COUNT, issued_s=now_s, expires_s=now_s, models={model: order}))
        session.add(Deployment(id=order.deployment, model=model, version=order.version, created_s=now_s, body=body))

    def set_goals(self, session: Session, model: str, wanted: Mapping[str, Wanted | None], now_s: float) -> dict[str, Reason]:
        """As `goals.set_goals`, for this fleet."""
        return set_goals(session, self._fleet, model, wanted, now_s)

    def goals(self, model: str, devices: Sequence[str]) -> list[Order]:
        """What `devices` (none named: all) shall have as `model` by now, the most frequent first."""
        with self._database.transaction() as session:
            counts: Counter[str] = Counter()
            for part in portions(devices) if devices else (None,):
                query = select(Goal.deployment, func.count()).where(Goal.model == model).group_by(Goal.deployment)
                for name, count in session.execute(query if part is None else query.where(Goal.device.in_(part))):
                    counts[name] += count
            bodies = [found.body for name, _ in counts.most_common() if (found := session.get(Deployment, name)) is not None]
        return [msgspec.json.decode(body, type=Order) for body in bodies]

    def remove(self, model: str, devices: Sequence[str], now_s: float | None = None, actor: str = "") -> int:
        """Take `model` from the goal of `devices` (none named: of all); returns how many had it. `now_s`: None = the clock.

        Raises:
            Rejected: ``device-unknown``, or ``model-unknown`` when no device of the fleet has such a goal.
        """
        with self._database.transaction() as session:
            names = self._existing(session, devices)
            known = list(session.scalars(select(Goal.model).distinct()))
            if model not in known:
                hint = nearest_hint(model, known) if known else "Nothing is deployed"
                raise Rejected("model-unknown", f"no device shall have a model {model!r}", hint)
            having = [name for part in portions(names) for name, goals in goals_of(session, part).items() if model in goals]
            when_s = time.time() if now_s is None else now_s
            self._set(session, model, dict.fromkeys(having), when_s)
            _note(session, actor, "model.remove", model, when_s, f"from {len(having)} devices: {' '.join(having[:20])}")
        return len(having)

    def _existing(self, session: Session, devices: Sequence[str]) -> list[str]:
        known = list(session.scalars(select(Device.name).where(Device.retired_s.is_(None)).order_by(Device.name)))
        for name in devices:
            if name not in known:
                hint = nearest_hint(name, known) if known else "Enroll it first: edgewright fleet enroll"
                raise Rejected("device-unknown", f"no device {name!r} is enrolled", hint)
        if not known:
            raise Rejected("device-unknown", "no device is enrolled", "edgewright fleet enroll NAME")
        return list(dict.fromkeys(devices)) or known

    def _desired(self, session: Session, device: Device, sequence: int, now_s: float) -> Desired:
        query = select(Goal.model, Goal.retry, Deployment.body).join(Deployment, Deployment.id == Goal.deployment).where(Goal.device == device.name)
        certificate = session.get(CertificateRow, device.name)
        return Desired(
            fleet=self._fleet,
            device=device.name,
            sequence=sequence,
            issued_s=now_s,
            expires_s=now_s + DESIRED_LIFE_S,
            models={
                model: msgspec.structs.replace(msgspec.json.decode(body, type=Order), retry=retry) for model, retry, body in session.execute(query)
            },
            wipe=device.wipe,
            certificate=None if certificate is None or not certificate.is_reissued else certificate.pem.decode(),
        )

    def command(self, device: str, verb: Verb, *, deployment: str | None, model: str | None, now_s: float, actor: str = "") -> str:
        """Queue a command; returns its id. Unanswered, it is sent again when the device comes back, for `COMMAND_LIFE_S`.

        Raises:
            Rejected: ``device-unknown``.
        """
        identity = uuid.uuid4().hex
        with self._database.transaction() as session:
            self._existing(session, [device])
            session.add(CommandRow(id=identity, device=device, verb=verb, deployment=deployment, model=model, created_s=now_s))
            _note(session, actor, f"device.{verb}", device, now_s, deployment or model or "")
        return identity

    def ask_profile(self, device: str, order: ProfileOrder, now_s: float, actor: str = "") -> str:
        """Queue the command ``profile``; returns its id, under which the answer is kept.

        Raises:
            Rejected: ``device-unknown``.
        """
        identity = uuid.uuid4().hex
        with self._database.transaction() as session:
            self._existing(session, [device])
            session.add(CommandRow(id=identity, device=device, verb="profile", deployment=None, model=order.model, created_s=now_s))
            session.add(ProfileRow(command=identity, body=msgspec.json.encode(order)))
            _note(session, actor, "device.profile", device, now_s, order.model or "what runs")
        return identity

    # --- for the serving process ---

    def sign_changed_goals(self, sign: Sign, now_s: float, limit: int = BATCH, metadata: Sequence[str] = ()) -> list[Addressed]:
        """Sign a new ``desired`` for devices whose goal has changed or whose last one is half through its life, at most `limit` of them."""
        due = Device.retired_s.is_(None) & or_(Device.goal_changed, Device.desired_expires_s < now_s + DESIRED_LIFE_S / 2)
        query = select(Device).where(due).order_by(Device.name).limit(limit)
        with self._database.reading() as session:
            if session.scalars(query.limit(1)).first() is None:
                return []
        signed: list[Addressed] = []
        with self._database.transaction() as session:
            for device in session.scalars(query):
                device.sequence = _next(device, now_s)
                desired = self._desired(session, device, device.sequence, now_s)
                device.desired = encode(seal(desired, sign, metadata))
                device.desired_expires_s, device.goal_changed, device.unsent_s = desired.expires_s, False, now_s
                signed.append((device.name, device.desired))
        return signed

    def sign_all_anew(self) -> None:
        """Keys or trust metadata are others now: every goal has to be signed with them."""
        with self._database.transaction() as session:
            session.execute(update(Device).where(Device.retired_s.is_(None)).values(goal_changed=True))

    def handed_over(self, devices: Sequence[str]) -> None:
        """The broker has been given the last signed goals of `devices`."""
        waiting = Device.name.in_(devices) & Device.unsent_s.is_not(None)
        with self._database.reading() as session:
            if session.scalar(select(Device.name).where(waiting).limit(1)) is None:
                return
        with self._database.transaction() as session:
            session.execute(update(Device).where(waiting).values(unsent_s=None))

    def left_unsent(self, now_s: float, limit: int = BATCH) -> list[Addressed]:
        """Goals that were signed `UNSENT_S` ago and never handed over: whoever signed them has died meanwhile. Twice is no harm."""
        query = select(Device.name, Device.desired).where(Device.unsent_s < now_s - UNSENT_S).order_by(Device.name).limit(limit)
        with self._database.reading() as session:
            return [(name, desired) for name, desired in session.execute(query) if desired is not None]

    def all_desired(self, now_s: float) -> Iterator[Addressed]:
        """Every device's last signed goal that has not expired, to be published again after a reconnect."""
        last = ""
        while True:
            with self._database.reading() as session:
                query = select(Device.name, Device.desired, Device.desired_expires_s).where(Device.name > last).order_by(Device.name).limit(BATCH)
                rows = list(session.execute(query))
            for name, desired, expires_s in rows:
                if desired is not None and expires_s > now_s:
                    yield name, desired
            if not rows:
                return
            last = rows[-1][0]

    def sign_commands(self, sign: Sign, now_s: float) -> list[Addressed]:
        """Sign the commands that wait, at most `BATCH` of them; each time with a new number."""
        waiting = (CommandRow.sent_s.is_(None), CommandRow.created_s > now_s - COMMAND_LIFE_S)
        query = select(CommandRow).where(*waiting).order_by(CommandRow.created_s, CommandRow.id).limit(BATCH)
        with self._database.reading() as session:
            if session.scalars(query.limit(1)).first() is None:
                return []
        signed: list[Addressed] = []
        with self._database.transaction() as session:
            for row in session.scalars(query):
                device = session.get(Device, row.device)
                assert device is not None
                device.sequence, row.sent_s = _next(device, now_s), now_s
                command = Command(
                    fleet=self._fleet,
                    device=row.device,
                    sequence=device.sequence,
                    issued_s=now_s,
                    expires_s=row.created_s + COMMAND_LIFE_S,
                    id=row.id,
                    verb=row.verb,  # type: ignore[arg-type] # `command` takes the wire's verbs only
                    deployment=row.deployment,
                    model=row.model,
                    profile=_profile_order(session, row),
                )
                signed.append((row.device, encode(seal(command, sign))))
        return signed

    def send_commands_again(self) -> None:
        """After a reconnect: what nobody has answered may have been lost."""
        with self._database.transaction() as session:
            session.execute(update(CommandRow).where(CommandRow.reply.is_(None)).values(sent_s=None))


def _note(session: Session, actor: str, action: str, subject: str, now_s: float, detail: str = "") -> None:
    if actor:
        note(session, actor, action, subject, now_s, detail)


def _begin_anew(session: Session, device: str, now_s: float) -> None:
    """What a board under the name of another has yet to do: all of the goal. In a rollout its time begins now."""
    goals = select(Goal.deployment).where(Goal.device == device)
    fresh = {"state": None, "attempt": 0, "updated_s": None, "reason": None, "measurement": None, "ending": None, "sequence": 0, "retried_after": 0}
    is_goal = (Target.device == device) & Target.deployment.in_(goals)
    session.execute(update(Target).where(is_goal).values(**fresh).execution_options(synchronize_session=False))
    released = (MemberRow.device == device) & MemberRow.released_s.is_not(None) & MemberRow.undone_s.is_(None)
    session.execute(update(MemberRow).where(released).values(released_s=now_s).execution_options(synchronize_session=False))


def _profile_order(session: Session, row: CommandRow) -> ProfileOrder | None:
    found = session.get(ProfileRow, row.id) if row.verb == "profile" else None
    return None if found is None else msgspec.json.decode(found.body, type=ProfileOrder)


def _next(device: Device, now_s: float) -> int:
    return max(device.sequence + 1, int(now_s))


def new_deployment_id(model: str) -> str:
    """A name for a deployment: sortable by time, unique, and readable in a log."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:6]}-{model}"[:64].rstrip("-")
