"""What the pages and the REST interface read and order: one fleet's views and deeds, put together once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..audit import AuditLog
from ..comparison import Comparison
from ..database import Database
from ..deeds import Deeds
from ..deployments import Deployments
from ..history import DeviceHistory
from ..inventory import Inventory
from ..measurements import Measurements
from ..orders import Orders
from ..overview import Overview
from ..paths import FleetPaths
from ..reports import Reports
from ..rollouts import Rollouts
from ..tokens import Tokens
from .access import Access
from .attempts import Attempts
from .recent import Recent
from .sessions import Sessions


@dataclass(frozen=True, slots=True)
class Site:
    """One fleet. `clock` tells the time in UNIX seconds."""

    fleet: str
    clock: Callable[[], float]
    database: Database
    access: Access
    recent: Recent
    overview: Overview
    inventory: Inventory
    history: DeviceHistory
    rollouts: Rollouts
    deployments: Deployments
    comparison: Comparison
    measurements: Measurements
    reports: Reports
    audit: AuditLog
    deeds: Deeds


def site_of(database: Database, paths: FleetPaths, fleet: str, clock: Callable[[], float]) -> Site:
    return Site(
        fleet=fleet,
        clock=clock,
        database=database,
        recent=Recent(),
        access=Access(Tokens(database), Sessions(), Attempts()),
        overview=Overview(database),
        inventory=Inventory(database),
        history=DeviceHistory(database),
        rollouts=Rollouts(database, Orders(database, fleet)),
        deployments=Deployments(database),
        comparison=Comparison(database),
        measurements=Measurements(database),
        reports=Reports(database),
        audit=AuditLog(database),
        deeds=Deeds(database, paths, fleet),
    )
