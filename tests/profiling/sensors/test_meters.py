"""External meters: a log that grows, and smart plugs."""

from __future__ import annotations

import json

import pytest
from edgewright.profiling.power_config import Meter
from edgewright.profiling.reading import read_power
from edgewright.profiling.sensor import Rail
from edgewright.profiling.sensors.meter_csv import SENSOR as CSV_METER
from edgewright.profiling.sensors.meter_mqtt import PlugReadings, parse_plug, plug_topic
from edgewright.profiling.survey import survey_power
from edgewright.profiling.sysfs import Sysfs


@pytest.fixture
def csv_meter(boards, tmp_path):
    boards.write(tmp_path, "etc/edgewright/power.toml", '[meter]\nkind = "csv"\npath = "/var/log/meter.csv"')
    boards.write(tmp_path, "var/log/meter.csv", "Time,Watts,Volts,Amps,PF\n11-24-2026 10:00:00.000,12.5,230.1,0.061,0.88")
    return tmp_path


def test_the_last_whole_line_of_the_log_is_the_wall_s_power(csv_meter):
    log = csv_meter / "var/log/meter.csv"
    log.write_text(log.read_text() + "11-24-2026 10:00:01.000,13.25,230,0.06,0.9\n11-24-2026 10:00:02.000,99")

    total = read_power(survey_power(csv_meter), 0.01).total

    assert (total.scope, total.mean_mw) == ("wall", 13250)


def test_a_log_that_stands_still_is_no_reading_after_a_while(csv_meter):
    tree = Sysfs(csv_meter)
    readings = CSV_METER.open(tree, CSV_METER.rails(tree))
    now = [0.0]
    readings.clock_s = lambda: now[0]

    assert readings.read() == [12500]
    now[0] = 9.0
    assert readings.read() == [12500]
    now[0] = 11.0
    assert readings.read() == [None]


@pytest.mark.parametrize("line", ["", "x", "a,b", "a,nan", "a,1e99"])
def test_a_broken_line_is_a_gap(csv_meter, line):
    log = csv_meter / "var/log/meter.csv"
    log.write_text(log.read_text() + line + "\n")

    assert survey_power(csv_meter).totals.main is not None
    assert read_power(survey_power(csv_meter), 0.01).total is None


def test_a_log_without_a_column_of_power_is_a_reason(csv_meter):
    (csv_meter / "var/log/meter.csv").write_text("Time,Volts\n1,2\n")

    assert "no column" in CSV_METER.unavailable(Sysfs(csv_meter))


def test_plugs_of_both_kinds_tell_watts():
    shelly = {"id": 0, "output": True, "apower": 8.9, "voltage": 239.5, "aenergy": {"total": 6.53}}
    tasmota = {"Time": "2026-11-24T10:00:00", "ENERGY": {"Total": 1.7, "Power": 11, "Voltage": 230}}

    assert parse_plug("shelly", json.dumps(shelly).encode()) == pytest.approx(8900)
    assert parse_plug("tasmota", json.dumps(tasmota).encode()) == 11000
    assert plug_topic(Meter(kind="shelly", topic="shellyplus1pm-1")) == "shellyplus1pm-1/status/switch:0"
    assert plug_topic(Meter(kind="tasmota", topic="desk")) == "tele/desk/SENSOR"


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'{"apower": "8"}', b'{"apower": true}', b'{"apower": 1e12}', b"[" * 5000, b"x" * 20000])
def test_messages_that_are_no_reading_are_none(payload):
    assert parse_plug("shelly", payload) is None
    assert parse_plug("tasmota", payload) is None


def test_a_plug_that_has_said_nothing_is_a_gap_and_then_its_last_word():
    readings = PlugReadings(Rail("meter_mqtt/plug", "plug", "meter_mqtt"), Meter(kind="shelly", topic="t"))

    assert readings.read() == [None]
    readings.received(b'{"apower": 7}')
    assert readings.read() == [7000]
    assert readings.faults["meter_mqtt/plug", "no data"] == 1
