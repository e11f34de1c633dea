"""The agent as one of its own deployments, on a device that is restarted when its agent makes way."""

from __future__ import annotations

from typing import Any

import pytest
from edgewright.agent.launch import LAUNCHED_VARIABLE
from edgewright.agent.version import UNHEARD_S
from edgewright.core.wire.messages import AGENT_MODEL


def deploy(device: Any, name: str, **fields: Any) -> None:
    device.want(**{AGENT_MODEL: device.package(name, **fields)})
    device.settle()


def test_a_version_is_installed_runs_on_trial_and_is_confirmed(device: Any) -> None:
    deploy(device, "v1")

    assert device.told("v1")[-4:] == ["STAGED", "ACTIVATING", "PROBATION", "SUCCEEDED"]
    assert (device.running_version, device.launched()) == ("v1-1", "v1-1")


def test_a_version_takes_over_during_its_probation_and_not_before_it_was_written_down(device: Any) -> None:
    device.want(**{AGENT_MODEL: device.package("v1")})
    device.run_to("PROBATION", AGENT_MODEL)
    assert (device.running_version, device.on_disk(AGENT_MODEL)) == ("", "PROBATION")
    assert device.makes_way

    assert device.step()
    assert (device.running_version, device.state_of(AGENT_MODEL)) == ("v1-1", "PROBATION")


def test_a_version_that_does_not_stay_up_makes_way_for_the_one_before(device: Any) -> None:
    deploy(device, "v1")
    device.want(**{AGENT_MODEL: device.package("v2", "0.3.0")})
    device.run_to("PROBATION", AGENT_MODEL)
    slots = device.deployer.slots(AGENT_MODEL)
    while not slots.count_start(device.config.limits.max_starts):
        pass
    device.start()
    device.settle()

    assert (device.running_version, device.reason_of(AGENT_MODEL)) == ("v1-1", "rolled-back")
    assert [path.name for path in slots.engines.iterdir()] == ["v1-1"]


def test_a_version_that_does_not_reach_the_controller_makes_way(device: Any) -> None:
    deploy(device, "v1")
    device.want(**{AGENT_MODEL: device.package("v2", "0.3.0")})
    device.run_to("PROBATION", AGENT_MODEL)
    device.step()
    device.link_down()
    device.settle(until_s=UNHEARD_S - 60)
    assert (device.state_of(AGENT_MODEL), device.running_version) == ("PROBATION", "v2-1")
    device.settle(until_s=120)

    assert (device.state_of(AGENT_MODEL), device.running_version) == ("FAILED", "v1-1")
    assert "did not reach the controller" in device.deployer.deployment(AGENT_MODEL).reason.message


def test_a_removed_version_makes_way_for_the_installation_and_leaves_nothing(device: Any) -> None:
    deploy(device, "v1")
    device.want()
    device.settle()

    assert device.running_version == ""
    assert not (device.state / "models" / AGENT_MODEL).exists()


def test_a_build_that_is_under_way_is_waited_for(device: Any) -> None:
    device.want(device.order("d1"), **{AGENT_MODEL: device.package("v1")})
    device.run_to("PROBATION", AGENT_MODEL)
    states = [device.state_of()]
    while not device.makes_way and device.step():
        states.append(device.state_of())

    assert "OPTIMIZING" not in states[-1:]
    device.settle()
    assert (device.running_version, device.state_of()) == ("v1-1", "SUCCEEDED")


def test_a_new_runtime_of_models_is_none_of_the_agents(device: Any) -> None:
    deploy(device, "v1")
    device.start(runtime="onnxruntime 2.0")
    device.settle()

    assert device.deployer.deployment(AGENT_MODEL).attempt == 1


def test_an_agent_that_nobody_would_start_again_refuses_another_version(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LAUNCHED_VARIABLE)
    deploy(device, "v1")

    assert (device.state_of(AGENT_MODEL), device.reason_of(AGENT_MODEL)) == ("REJECTED", "update-unavailable")
