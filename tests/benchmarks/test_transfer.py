import json

import pytest
from edgewright.core.errors import Faulty, Reason
from edgewright.core.wire.messages import Event


@pytest.fixture
def transfer(benchmark):
    return benchmark("transfer")


def event(state, sequence, time_s, reason=None):
    return Event(
        fleet="bench",
        device="board",
        id=f"board-{sequence}",
        sequence=sequence,
        deployment="d",
        model="random",
        attempt=1,
        state=state,
        time_s=time_s,
        reason=reason,
    )


def by_state(*events):
    return {entry.state: entry for entry in events}


def test_speed_is_in_millions_of_bytes_per_second(transfer):
    found = transfer.speeds(14_000_000, [0.1, 0.2, 0.14])

    assert (found.median, found.min, found.max) == (100.0, 70.0, 140.0)


def test_a_download_lasts_from_its_state_to_the_verified_one_by_the_devices_clock(transfer):
    events = by_state(event("ACCEPTED", 1, 1000.0), event("DOWNLOADING", 2, 1000.5), event("VERIFIED", 3, 1000.75), event("REJECTED", 4, 1003.0))

    assert transfer.download_s(events) == 0.25


def test_a_refused_deployment_has_no_speed_and_says_why(transfer):
    refused = Reason("disk-full", "the disk is full", "Free space", "unfit")

    with pytest.raises(Faulty, match="the disk is full"):
        transfer.download_s(by_state(event("ACCEPTED", 1, 1000.0), event("FAILED", 2, 1001.0, refused)))


def test_a_transfer_that_lost_its_connection_has_no_speed(transfer):
    events = by_state(event("PAUSED", 3, 1000.5), event("DOWNLOADING", 4, 1009.0), event("VERIFIED", 5, 1009.1), event("REJECTED", 6, 1011.0))

    with pytest.raises(Faulty, match="in one piece"):
        transfer.download_s(events)


def test_the_table_has_both_ways_and_the_agents_memory(transfer, benchmark, capsys, tmp_path):
    spread = benchmark("spread")
    result = transfer.Result(
        size_mb=14.0,
        repeats=9,
        mb_per_s=spread.Spread(100.0, 70.0, 140.0),
        raw_tcp_mb_per_s=spread.Spread(400.0, 300.0, 500.0),
        ratio_to_raw_tcp=0.25,
        seconds=(0.14,),
        raw_tcp_seconds=(0.035,),
        agent_rss=transfer.Rss(28.4, 32.5, 4.1),
        conditions=spread.conditions("amqtt", tmp_path),
    )

    transfer.print_result(result)

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["MQTT,", "amqtt", "100.0", "70.0", "140.0", "0.25"] in lines
    assert ["raw", "TCP", "400.0", "300.0", "500.0", "1"] in lines
    assert any("28.4" in line and "32.5" in line and "(+4.1" in line for line in lines)


def test_help_tells_the_options(start_benchmark):
    output, _ = start_benchmark("transfer", "--help").communicate(timeout=60)

    assert all(option in output for option in ("--mb", "--repeats", "--broker", "--json"))


def test_a_model_reaches_a_real_agent_and_nothing_is_left_behind(start_benchmark, left_behind):
    process = start_benchmark("transfer", "--mb", "0.5", "--repeats", "1", "--json")
    output, errors = process.communicate(timeout=240)

    assert process.returncode == 0, errors
    result = json.loads(output)
    assert (result["size_mb"], result["repeats"], len(result["seconds"]), len(result["raw_tcp_seconds"])) == (0.5, 1, 1, 1)
    # Each published figure is rounded by itself: 0.1 MB/s, 0.1 ms.
    assert result["mb_per_s"]["median"] == pytest.approx(0.5 / result["seconds"][0], rel=0.05)
    assert result["agent_rss"]["peak_mb"] >= result["agent_rss"]["idle_mb"] - 1
    assert left_behind() == []
