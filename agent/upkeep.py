"""Keeps the state folder tidy: after a start, and after each deployment's end. What a crash left behind is found by what the journal says.

Nothing here decides anything, and nothing of it has to succeed: it is done again the next time.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..core.artifact import walk_blobs
from ..core.errors import EdgewrightError
from ..core.wire.messages import Order
from .deployment import is_open
from .downloads import artifacts
from .journal import ModelRecord
from .shortcuts import shortcut_blobs
from .slots import all_models

if TYPE_CHECKING:
    from .deployer import Deployer

log = logging.getLogger(__name__)


def after_start(deployer: Deployer) -> None:
    """Repair the links of all models, and delete what nobody needs. Models that only the disk knows are known from here on."""
    names = all_models(deployer.parts.config.state)
    deployer.ledger.know_models(names)
    for name in names:
        try:
            deployer.slots(name).repair()
        except (EdgewrightError, OSError) as error:
            log.warning("The slots of %s could not be repaired: %s", name, error)
    deployer.charge_start()
    _tidy(deployer, names)


def after_end(deployer: Deployer, name: str) -> None:
    """A deployment of the model `name` has come to its end."""
    _tidy(deployer, [name])


def collect(deployer: Deployer) -> None:
    """Something is garbage that was needed a moment ago."""
    _tidy(deployer, [])


def _tidy(deployer: Deployer, names: list[str]) -> None:
    try:
        _clear_work(deployer)
        for name in names:
            current = deployer.journal.models[name].deployment
            is_needed = current is not None and is_open(current.state)
            needed = {current.engine_folder} if current is not None and is_needed else set()
            # What this very process runs from goes at the next start.
            deployer.slots(name).clean(frozenset(needed | {deployer.parts.running_version}))
        _collect_garbage(deployer)
    except (EdgewrightError, OSError) as error:
        log.warning("The state folder could not be tidied: %s", error)


def _clear_work(deployer: Deployer) -> None:
    """Keep the work folders of open deployments."""
    models = deployer.journal.models.items()
    needed = {deployer.work(name).name for name, record in models if record.deployment is not None and is_open(record.deployment.state)}
    work = deployer.parts.config.state / "work"
    for path in work.iterdir() if work.is_dir() else ():
        if path.name not in needed:
            shutil.rmtree(path, ignore_errors=True)


def _collect_garbage(deployer: Deployer) -> None:
    needed = list(_needed_orders(deployer))
    keep = {blob.digest for order in needed for artifact in artifacts(order) for blob in walk_blobs(artifact)}
    keep |= {blob.digest for order in needed if _is_awaited(deployer, order) for blob in shortcut_blobs(order)}
    deployer.parts.store.keep_only(keep | {deployer.downloads.at_disk})


def _is_awaited(deployer: Deployer, order: Order) -> bool:
    """Whether its files may have to be fetched still."""
    return any(_is_still_wanted(record, order) or _is_under_way(record, order) for record in deployer.journal.models.values())


def _is_still_wanted(record: ModelRecord, order: Order) -> bool:
    return record.wanted == order and order.key != record.settled


def _is_under_way(record: ModelRecord, order: Order) -> bool:
    return record.deployment is not None and is_open(record.deployment.state) and record.deployment.order == order


def _needed_orders(deployer: Deployer) -> Iterator[Order]:
    """What is under way, what waits, and what may have to be built again for a new runtime."""
    for record in deployer.journal.models.values():
        if record.deployment is not None and is_open(record.deployment.state):
            yield record.deployment.order
        if record.wanted is not None and _is_still_wanted(record, record.wanted):
            yield record.wanted
        if record.proven is not None:
            yield record.proven.order
