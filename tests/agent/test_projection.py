"""What the device says about itself is what stands in the journal and the slots."""

from __future__ import annotations

from typing import Any

from edgewright.agent import projection
from edgewright.agent.deployer import PROGRESS_S
from edgewright.agent.journal import JournalFile
from edgewright.agent.steps import DeviceFacts
from edgewright.core.budget import Budget
from edgewright.core.errors import Reason
from edgewright.core.wire.messages import Reported, Runtime, decode, encode


def test_a_report_has_every_slot_and_the_last_deployment(device: Any) -> None:
    device.want(device.order("d1"))
    device.settle()
    device.want(device.order("d2", seed=2, probation_s=100.0), other=device.order("d3", seed=3, budget=Budget(max_size_bytes=1)))
    device.run_to("PROBATION")
    device.run_to("REJECTED", "other")
    device.deployer.slots("surface").count_start(3)
    problem = Reason("a", "b", "c")
    report = projection.reported(device.deployer, 77, (problem,))
    surface, other = report.models["surface"], report.models["other"]

    assert (report.fleet, report.device, report.session, report.problems) == ("fleet", "board-1", 77, (problem,))
    assert report.desired_sequence == device.deployer.journal.desired_sequence
    assert surface.active is not None
    assert surface.trial is not None
    assert (surface.active.deployment, surface.previous, surface.trial.deployment, surface.trial.starts) == ("d1", None, "d2", 1)
    assert (surface.deployment, surface.state, surface.attempt, surface.held) == ("d2", "PROBATION", 1, False)
    assert (other.active, other.state, other.reason.code if other.reason else "") == (None, "REJECTED", "budget")
    assert other.measurement is not None
    assert decode(encode(report), Reported) == report


def test_a_transfer_s_progress_is_in_the_report(device: Any) -> None:
    device.want(device.order("d1"))
    for _ in range(3):
        device.step()
    report = projection.report_of_model(device.deployer, "surface")

    assert 0 < report.bytes_done < report.bytes_total


def test_a_build_s_progress_is_in_the_report_and_in_the_journal_until_the_build_ends(device: Any) -> None:
    device.want(device.order("d1"))
    device.run_to("OPTIMIZING")
    device.deployer.building("surface", 0.25, "building int8" * 20)
    report = projection.report_of_model(device.deployer, "surface")
    device.deployer.ledger.save()
    kept = JournalFile(device.state).load().models["surface"].deployment
    device.settle()
    ended = projection.report_of_model(device.deployer, "surface")

    assert (report.progress, report.progress_note) == (0.25, ("building int8" * 20)[:128])
    assert kept is not None
    assert (kept.progress, kept.progress_note) == (0.25, ("building int8" * 20)[:128])
    assert (ended.progress, ended.progress_note) == (None, "")


def test_progress_is_told_now_and_then_and_never_of_what_has_ended(device: Any) -> None:
    device.want(device.order("d1"))
    device.run_to("OPTIMIZING")
    due = []
    for share in (0.1, 0.2, 0.3):
        before = device.reports_due
        device.deployer.building("surface", share, "building")
        due.append(device.reports_due - before)
    device.clock.pass_s(PROGRESS_S)
    before = device.reports_due
    device.deployer.building("surface", 0.4, "building")
    due.append(device.reports_due - before)
    device.settle()
    device.deployer.building("surface", 0.5, "building")

    assert due == [1, 0, 0, 1]
    assert device.deployer.deployment("surface").progress is None


def test_a_model_that_is_only_wanted_has_empty_slots(device: Any) -> None:
    device.deployer.ledger.know_models(["found"])
    report = projection.report_of_model(device.deployer, "found")

    assert (report.active, report.previous, report.trial, report.deployment, report.state) == (None, None, None, None, None)


def test_capabilities_name_the_board_and_what_is_usable_and_why_not(device: Any) -> None:
    facts = DeviceFacts("Jetson Orin Nano", "Cortex-A78AE", (Runtime(name="a", usable=True, version="1"), Runtime(name="b", usable=False)), ())
    message = projection.capabilities(device.config, facts, 123)

    assert (message.board, message.hardware_class, message.free_disk_mb) == ("Jetson Orin Nano", "Jetson Orin Nano / Cortex-A78AE", 123)
    assert message.backends == facts.backends
    assert message.cores >= 1
    assert facts.runtime == "a 1"
    unnamed = projection.capabilities(device.config, DeviceFacts("board", "", (), ()), None)
    assert (unnamed.hardware_class, unnamed.free_disk_mb) == ("board", None)


def test_one_model_whose_slots_cannot_be_read_does_not_silence_the_device(device: Any) -> None:
    device.want(device.order("d1"), other=device.order("d2", seed=2))
    device.settle()
    (device.state / "models/other/slots.json").unlink()
    (device.state / "models/other/slots.json").mkdir()
    device.deployer.advance()
    report = projection.reported(device.deployer, 1, tuple(device.deployer.problems.values()))

    assert report.models["surface"].active is not None
    assert (report.models["other"].active, [problem.code for problem in report.problems]) == (None, ["slots-unreadable"])


def test_a_new_driver_is_a_new_runtime():
    backends = (Runtime(name="tensorrt", usable=True, version="10.3.0"),)
    before = DeviceFacts("Orin", "cpu", backends, (), "R36 (release), REVISION: 4.0; CUDA 12.6")

    after = DeviceFacts("Orin", "cpu", backends, (), "R36 (release), REVISION: 4.4; CUDA 12.6")

    assert before.runtime != after.runtime
    assert before.runtime.startswith("tensorrt 10.3.0 on R36")
    assert DeviceFacts("PC", "cpu", backends, ()).runtime == "tensorrt 10.3.0"
