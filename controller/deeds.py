"""What people may order by HTTP, and the role that each order needs. The command line needs none: who reads the state folder has them all.

Each deed is refused or done whole, with its line in the audit log; nothing here asks who somebody is (`web.access`).
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from ..core.anchor import open_anchor
from ..core.approval import check_approval
from ..core.profile import ProfileOrder
from ..core.wire.messages import Order
from .audit import note
from .database import Database
from .enrollment import take_access
from .inventory import Inventory, Selector
from .orders import Orders, new_deployment_id
from .paths import FleetPaths
from .reports import Reports
from .rollout_plan import RolloutPlan
from .rollouts import Rollouts
from .tables import Deployment
from .tokens import Role

RolloutDeed = Literal["approve", "pause", "resume", "retry", "cancel", "roll_back"]
DeviceDeed = Literal["wipe", "revoke", "retire"]
ModelDeed = Literal["rollback", "release", "remove"]
ROLLOUT_DEEDS: tuple[RolloutDeed, ...] = get_args(RolloutDeed)
DEVICE_DEEDS: tuple[DeviceDeed, ...] = get_args(DeviceDeed)
MODEL_DEEDS: tuple[ModelDeed, ...] = get_args(ModelDeed)

ROLE_OF: dict[str, Role] = {
    "approve": "approver",
    **dict.fromkeys(("pause", "resume", "retry", "cancel", "roll_back", "start"), "operator"),
    **dict.fromkeys(("rollback", "release", "remove", "label", "profile"), "operator"),
    **dict.fromkeys(DEVICE_DEEDS, "admin"),
}


class Deeds:
    """Carries out what somebody has ordered who may."""

    def __init__(self, database: Database, paths: FleetPaths, fleet: str) -> None:
        self._database = database
        self._paths = paths
        self._fleet = fleet
        self._orders = Orders(database, fleet)
        self._rollouts = Rollouts(database, self._orders)

    def conduct(self, deed: RolloutDeed, rollout: str, actor: str, now_s: float) -> None:
        """Raises:
        Rejected: ``rollout-unknown``, ``rollout-state``, ``nothing-to-retry``.
        """
        identity = self._rollouts.view(rollout, now_s).rollout
        getattr(self._rollouts, deed)(identity, actor, now_s)

    def start(self, deployment: str, selector: Selector, plan: RolloutPlan, actor: str, now_s: float) -> str:
        """Roll out once more what was deployed as `deployment`, with its budget, recipe and approval; returns the new rollout's id.

        Raises:
            Rejected: ``deployment-unknown``, ``approval-withdrawn`` and the like, and what `Rollouts.start` raises.
        """
        known = Reports(self._database).deployment(deployment)
        with self._database.reading() as session:
            row = session.get(Deployment, known.deployment)
            assert row is not None
            order = msgspec.json.decode(row.body, type=Order)
        anchor = open_anchor(self._paths.trust)
        if anchor.policy.approvals:
            check_approval(anchor, self._fleet, known.model, order)  # it may have been withdrawn since: here, and not on a thousand devices
        fresh = msgspec.structs.replace(order, deployment=new_deployment_id(known.model), retry=0)
        return self._rollouts.start(known.model, fresh, selector, plan, actor, now_s)

    def cancel_deployment(self, deployment: str, actor: str, now_s: float) -> tuple[str, ...]:
        """Tell every device where it is not over to end it; returns the commands' ids.

        Raises:
            Rejected: ``deployment-unknown``.
        """
        view = Reports(self._database).deployment(deployment)
        waiting = [target.device for target in view.devices if not target.is_over]
        return tuple(self._orders.command(name, "cancel", deployment=view.deployment, model=None, now_s=now_s, actor=actor) for name in waiting)

    def on_model(self, deed: ModelDeed, device: str, model: str, actor: str, now_s: float) -> str | None:
        """Roll `model` back on `device`, let its goal apply again, or take it away; returns the command's id where there is one.

        Raises:
            Rejected: ``device-unknown``, ``model-unknown``.
        """
        if deed == "remove":
            self._orders.remove(model, [device], now_s, actor)
            return None
        return self._orders.command(device, deed, deployment=None, model=model, now_s=now_s, actor=actor)

    def on_device(self, deed: DeviceDeed, device: str, actor: str, now_s: float) -> None:
        """Take every model from `device`, its access, or both and its place in the fleet.

        Raises:
            Rejected: ``device-unknown``.
            Unfit: ``authority-unreadable``.
        """
        serials = self._orders.certificates(device, must_exist=True)
        if deed == "wipe":
            self._orders.wipe(device, now_s, actor)
            return
        take_access(self._paths, device, serials)
        if deed == "retire":
            self._orders.retire(device, now_s, actor)
            return
        with self._database.transaction() as session:
            note(session, actor, "device.revoke", device, now_s)

    def label(self, device: str, changes: dict[str, str | None], actor: str, now_s: float) -> dict[str, str]:
        """As `Inventory.set_labels`."""
        return Inventory(self._database).set_labels(device, changes, actor, now_s)

    def profile(self, device: str, order: ProfileOrder, actor: str, now_s: float) -> str:
        """Ask `device` for a profile; returns the command's id.

        Raises:
            Rejected: ``device-unknown``.
        """
        return self._orders.ask_profile(device, order, now_s, actor)
