"""A device's profile, as it is read from the wire."""

from __future__ import annotations

import msgspec
import pytest
from edgewright.core.errors import Reason, Rejected
from edgewright.core.histogram import Histogram, histogram_of
from edgewright.core.measurement import Conditions
from edgewright.core.profile import MAX_PROFILE_BYTES, Profile, ProfileOrder, ProfileReport, decode_report
from edgewright.core.trace import Trace, pack_trace


def profile(**changes):
    fields = {
        "order": ProfileOrder(model="m"),
        "latency_ms": None,
        "histogram": histogram_of([5, 6]),
        "energy_mj": None,
        "energy_reason": "no sensor",
        "conditions": Conditions(),
        "trace": pack_trace(Trace(rails=(), times_us=(), values_mw=())),
    }
    return Profile(**(fields | changes))


def test_a_report_is_the_same_after_the_wire():
    report = ProfileReport(command="c1", deployment="d", profile=profile())

    assert decode_report(msgspec.json.encode(report)) == report


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"{}", "profile-malformed"),
        (b"[" * 100_000, "profile-malformed"),
        (bytes(MAX_PROFILE_BYTES + 1), "profile-malformed"),
        (msgspec.json.encode(ProfileReport(command="c")), "profile-malformed"),
        (msgspec.json.encode(ProfileReport(command="c", profile=profile(), reason=Reason("a", "b", ""))), "profile-malformed"),
        (msgspec.json.encode(ProfileReport(command="c", profile=profile(trace=b"junk"))), "trace-malformed"),
        (msgspec.json.encode(ProfileReport(command="c", profile=profile(histogram=Histogram(buckets=((3, -1),))))), "histogram-malformed"),
    ],
)
def test_what_is_no_report_is_refused(data, code):
    with pytest.raises(Rejected) as caught:
        decode_report(data)

    assert caught.value.code == code


@pytest.mark.parametrize("field", [{"seconds": 0}, {"seconds": 1e9}, {"streams": 0}, {"rate_per_s": 0}, {"scenario": "other"}, {"model": "x" * 65}])
def test_an_order_out_of_range_is_refused(field):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(field, ProfileOrder)
