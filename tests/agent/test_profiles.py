"""Profiles that the fleet asks for: written down, measured behind the builds, answered always, sent in parts."""

from __future__ import annotations

import os

import msgspec
import pytest
from edgewright.agent.profiles import MAX_WAITING, Profiles
from edgewright.agent.slots import ModelSlots
from edgewright.core.errors import Rejected, Unfit
from edgewright.core.measurement import Conditions
from edgewright.core.profile import MAX_PROFILE_BYTES, Profile, ProfileOrder, ProfileReport, decode_report
from edgewright.core.wire.frames import MAX_PAYLOAD_BYTES
from edgewright.core.wire.messages import Command, ProfilePart, decode


def command(identity="c1", order=ProfileOrder(seconds=1.0)):  # noqa: B008 - frozen
    return Command(fleet="fleet", device="board-1", sequence=1, issued_s=0, expires_s=1, id=identity, verb="profile", profile=order)


def profile(order, trace=None):
    return Profile(
        order=order, latency_ms=None, histogram=None, energy_mj=None, energy_reason="no sensor", conditions=Conditions(board="b"), trace=trace
    )


class Bench:
    """The profiles of one device, with lanes that run when they are told to."""

    def __init__(self, state, lanes, trace=None):
        self.state, self.lanes, self.requests, self.error, self.trace = state, lanes, [], None, trace
        self.profiles = self.start()

    def start(self):
        return Profiles(self.state, "fleet", "board-1", self.lanes, self.run, lambda: None)

    def run(self, request, _cancel):
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        return msgspec.json.encode(profile(request.order, self.trace))

    def sent(self):
        """What the spool hands over until it is empty, acknowledged one after the other."""
        payloads = []
        while len(self.profiles.spool):
            known = len(payloads)
            self.profiles.spool.flush(lambda payload: payloads.append(payload) or len(payloads))
            for identity in range(known + 1, len(payloads) + 1):
                self.profiles.spool.acknowledged(identity)
        assert all(len(payload) <= MAX_PAYLOAD_BYTES for payload in payloads)
        return [decode(payload, ProfilePart) for payload in payloads]

    def report(self):
        parts = self.sent()
        assert [part.part for part in parts] == list(range(parts[0].parts))
        return decode_report(b"".join(part.data for part in parts))


@pytest.fixture
def bench(fake_device, tmp_path):
    return Bench(tmp_path, fake_device.FakeLanes())


def test_an_order_is_measured_on_the_build_lane_and_answered(bench):
    bench.profiles.prepare(command())()

    assert bench.lanes.waiting["build"][0].name == "profile c1"
    assert bench.lanes.run_next()
    assert bench.report() == ProfileReport(command="c1", profile=profile(ProfileOrder(seconds=1.0)))
    assert bench.requests[0].path is None
    assert not list((bench.state / "profiles").glob("*.json"))


def test_a_model_s_running_engine_is_what_is_measured(bench, monkeypatch, fake_device):
    monkeypatch.setattr(Profiles, "_engine", lambda _self, model: (f"/engines/{model}", "d-7"))
    bench.profiles.prepare(command(order=ProfileOrder(model="surface")))()

    bench.lanes.run_next()

    assert bench.requests[0].path == "/engines/surface"
    assert bench.report().deployment == "d-7"


def test_a_model_that_does_not_run_here_is_refused_at_once(bench):
    assert ModelSlots(bench.state, "nothing").read().running is None

    with pytest.raises(Rejected) as caught:
        bench.profiles.prepare(command(order=ProfileOrder(model="nothing")))

    assert caught.value.code == "model-unknown"
    assert not list((bench.state / "profiles").glob("*.json"))


@pytest.mark.parametrize("bad", [command(order=None), command(identity="../../etc/passwd"), command(identity="")])
def test_a_command_that_says_nothing_or_is_no_name_is_refused(bench, bad):
    with pytest.raises(Rejected) as caught:
        bench.profiles.prepare(bad)

    assert caught.value.code == "profile-malformed"


def test_only_so_many_may_wait(bench):
    for index in range(MAX_WAITING):
        bench.profiles.prepare(command(f"c{index}"))()

    with pytest.raises(Unfit) as caught:
        bench.profiles.prepare(command("more"))

    assert caught.value.code == "profile-busy"


def test_a_measurement_that_fails_is_answered_with_its_reason(bench):
    bench.error = Unfit("timed-out", "it took too long", "Allow more time")
    bench.profiles.prepare(command())()

    bench.lanes.run_next()

    assert bench.report().reason.code == "timed-out"


def test_what_a_crash_interrupted_is_answered_at_the_next_start(bench):
    bench.profiles.prepare(command())()

    bench.profiles = bench.start()

    assert bench.report().reason.code == "profile-interrupted"
    bench.profiles = bench.start()
    assert bench.sent() == []


def test_parts_that_the_broker_does_not_have_survive_a_crash(bench):
    bench.profiles.prepare(command())()
    bench.lanes.run_next()

    bench.profiles = bench.start()

    assert bench.report().profile is not None


def test_a_broken_order_on_disk_is_dropped(bench):
    (bench.state / "profiles" / "junk.json").write_text("{")

    bench.profiles = bench.start()

    assert bench.sent() == []
    assert not (bench.state / "profiles" / "junk.json").exists()


def test_a_long_trace_goes_in_parts_below_the_brokers_limit(fake_device, tmp_path):
    bench = Bench(tmp_path, fake_device.FakeLanes(), trace=os.urandom(200_000))
    bench.profiles.prepare(command())()
    bench.lanes.run_next()

    parts = bench.sent()

    assert len(parts) == -(-sum(len(part.data) for part in parts) // (60 * 1024)) > 3
    assert bench.trace == msgspec.json.decode(b"".join(part.data for part in parts), type=ProfileReport).profile.trace


def test_a_trace_beyond_all_limits_is_left_behind_and_the_numbers_go(fake_device, tmp_path):
    bench = Bench(tmp_path, fake_device.FakeLanes(), trace=os.urandom(MAX_PROFILE_BYTES))
    bench.profiles.prepare(command())()
    bench.lanes.run_next()

    assert bench.report().profile.trace is None
