from __future__ import annotations

import datetime as dt

import pytest
from edgewright.controller.deeds import Deeds
from edgewright.controller.inventory import Selector
from edgewright.controller.keys import Offline, init_keys
from edgewright.controller.passwords import new_password, read_passwords, set_password
from edgewright.controller.rollout_plan import RolloutPlan
from edgewright.controller.rollouts import Rollouts
from edgewright.core.errors import Rejected

NOW_S = 1_800_000_000.0
NOW = dt.datetime.fromtimestamp(NOW_S, dt.timezone.utc)


@pytest.mark.parametrize("approvals", [False, True])
def test_a_model_is_rolled_out_again_only_while_its_approval_is_good(database, paths, orders, order, approvals):
    init_keys(paths, "fleet", NOW, Offline(approvals=approvals))
    orders.deploy("m", order(), ["board-1"], NOW_S)
    deeds, rollouts = Deeds(database, paths, "fleet"), Rollouts(database, orders)
    if approvals:
        with pytest.raises(Rejected) as caught:
            deeds.start("d-1", Selector(), RolloutPlan(), "token:ann", NOW_S)
        assert caught.value.code == "approval-missing"
        assert rollouts.all(NOW_S) == []
        return
    begun = rollouts.view(deeds.start("d-1", Selector(), RolloutPlan(), "token:ann", NOW_S), NOW_S)

    assert (begun.model, begun.version, begun.created_by) == ("m", "1", "token:ann")
    assert begun.deployment != "d-1"


def test_whoever_is_revoked_or_retired_can_log_in_no_more(database, paths, orders):
    deeds = Deeds(database, paths, "fleet")
    for device, deed in (("board-1", "revoke"), ("board-2", "retire")):
        set_password(paths.passwords, device, new_password())
        deeds.on_device(deed, device, "token:ann", NOW_S)

    assert read_passwords(paths.passwords) == {}
    assert (paths.broker / "banished").read_text().split() == ["board-1", "board-2"]


def test_an_order_to_a_device_that_is_not_there_changes_nothing(database, paths, orders):
    with pytest.raises(Rejected) as caught:
        Deeds(database, paths, "fleet").on_device("wipe", "board-9", "token:ann", NOW_S)

    assert caught.value.code == "device-unknown"
