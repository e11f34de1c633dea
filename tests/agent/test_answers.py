"""What the control socket answers: every verb, on a device that has something to tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from edgewright.agent.answers import answer
from edgewright.agent.config import AgentConfig, ModelSection
from edgewright.agent.control import ControlRequest
from edgewright.core.budget import Budget
from edgewright.core.errors import Reason, Rejected, Unfit


@dataclass
class Session:
    is_connected: bool = False


@dataclass
class FakeDaemon:
    """What `answer` reads of a daemon."""

    device: Any
    session: Session = field(default_factory=Session)
    capabilities: Any = None

    @property
    def config(self) -> AgentConfig:
        config: AgentConfig = self.device.config
        return config

    @property
    def deployer(self) -> Any:
        return self.device.deployer

    @property
    def outbox(self) -> Any:
        return self.device.outbox

    def all_problems(self) -> tuple[Reason, ...]:
        return tuple(self.device.deployer.problems.values())


def ask(device: Any, verb: Any, name: str = "") -> Any:
    """The answer as it crosses the socket."""
    return msgspec.json.decode(msgspec.json.encode(answer(FakeDaemon(device), ControlRequest(verb, name))))


def test_status_has_what_runs_and_what_waits(device: Any) -> None:
    device.want(device.order("d1"))
    device.settle()
    device.link_down()
    device.deployer.put_off("surface", Reason("disk-full", "full", "Free it"))
    status = ask(device, "status")

    assert (status["fleet"], status["device"], status["connected"], status["broker"]) == ("fleet", "board-1", False, "127.0.0.1:8883")
    assert (status["models"]["surface"]["active"]["deployment"], status["models"]["surface"]["state"]) == ("d1", "SUCCEEDED")
    assert [problem["code"] for problem in status["problems"]] == ["disk-full"]
    assert status["events_waiting"] == 0


def test_jobs_are_the_open_deployments_with_their_progress(device: Any) -> None:
    assert ask(device, "jobs") == []
    device.want(device.order("d1"), other=device.order("d2", seed=2))
    device.run_to("OPTIMIZING")
    device.deployer.building("surface", 0.25, "calibrating")
    jobs = {job["model"]: job for job in ask(device, "jobs")}

    assert (jobs["surface"]["state"], jobs["surface"]["progress"], jobs["surface"]["note"]) == ("OPTIMIZING", 0.25, "calibrating")
    assert (jobs["other"]["state"], jobs["other"]["bytes_total"] > 0) == ("DOWNLOADING", True)
    device.settle()
    assert ask(device, "jobs") == []


@pytest.mark.parametrize("name", ["surface", "d1"])
def test_explain_tells_why_by_the_model_s_or_the_deployment_s_name(device: Any, name: str) -> None:
    device.want(device.order("d1", budget=Budget(max_size_bytes=1)))
    device.settle()
    told = ask(device, "explain", name)

    assert (told["model"], told["deployment"], told["state"], told["reason"]["code"]) == ("surface", "d1", "REJECTED", "budget")
    assert (told["budget"], told["notes"]) == ({"max_size_bytes": 1}, ["a note"])
    assert told["measurement"]["chosen"]["size_bytes"] == 1000


def test_explain_of_what_is_not_here_names_the_nearest(device: Any) -> None:
    with pytest.raises(Rejected):
        ask(device, "explain", "surface")
    device.want(device.order("d1"))
    with pytest.raises(Rejected) as caught:
        ask(device, "explain", "surfaec")

    assert caught.value.next_step == "Did you mean 'surface'?"


def test_cancel_roll_back_and_release_do_what_they_say(device: Any) -> None:
    for number in (1, 2):
        device.want(device.order(f"d{number}", seed=number))
        device.settle()
    assert ask(device, "rollback", "surface") == {"done": "rollback", "name": "surface"}
    assert device.current() == "d1-1"
    device.settle()
    assert ask(device, "release", "surface") == {"done": "release", "name": "surface"}
    assert ask(device, "cancel", "d2") == {"done": "cancel", "name": "d2"}
    device.settle()

    assert device.state_of() == "CANCELED"


@pytest.mark.parametrize(("verb", "error"), [("cancel", Rejected), ("rollback", Unfit), ("release", Rejected)])
def test_what_cannot_be_done_is_refused(device: Any, verb: str, error: Any) -> None:
    device.want(device.order("d1"))
    device.settle()
    with pytest.raises(error):
        ask(device, verb, "surface" if verb == "rollback" else "nothing")


def test_diag_has_everything_and_no_secret(make_device: Any) -> None:
    device = make_device(models={"surface": ModelSection(activate=("notify", "--token", "s3cret"))})
    device.want(device.order("d1"))
    device.settle()
    told = ask(device, "diag")

    assert {"status", "jobs", "python", "time_s", "capabilities", "config", "journal"} == set(told)
    assert told["config"]["models"] == {"surface": {"activate": True, "health": False}}
    assert told["journal"]["models"]["surface"]["deployment"]["state"] == "SUCCEEDED"
    assert "s3cret" not in str(told)
