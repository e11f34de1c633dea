from __future__ import annotations

import os
import random

import pytest
from edgewright.profiling.sensors.rapl import SENSOR
from edgewright.profiling.survey import survey_power
from edgewright.profiling.sysfs import Sysfs

ZONES = {"intel-rapl:0": ("package-0", 1_000_000), "intel-rapl:0:0": ("core", 10), "intel-rapl-mmio:0": ("package-0", 5)}


@pytest.fixture
def sysfs(load_fake):
    return load_fake("sysfs")


def test_packages_are_the_processor_and_their_twins_are_not_counted_again(sysfs, tmp_path):
    sysfs.rapl(tmp_path, ZONES)

    survey = survey_power(tmp_path)

    assert [(rail.label, rail.key) for rail in survey.rails] == [("package-0", "rapl/intel-rapl:0"), ("core", "rapl/intel-rapl:0:0")]
    assert survey.totals.main is None
    assert [(total.scope, total.rails) for total in survey.totals.others] == [("package", ("rapl/intel-rapl:0",))]


def test_the_platform_s_zone_is_the_whole_board(sysfs, tmp_path):
    sysfs.rapl(tmp_path, ZONES | {"intel-rapl:1": ("psys", 77)})

    main = survey_power(tmp_path).totals.main

    assert (main.scope, main.rails) == ("board", ("rapl/intel-rapl:1",))


def test_a_counter_is_exact_over_many_wraps(sysfs, tmp_path):
    sysfs.rapl(tmp_path, {"intel-rapl:0": ("package-0", 0)}, span_uj=9_999)
    chance, true_uj = random.Random(1), 0
    tree = Sysfs(tmp_path, lambda descriptor, size, offset: str(true_uj % 10_000).encode())
    rails = SENSOR.rails(Sysfs(tmp_path))
    readings = SENSOR.open(tree, rails)
    readings.counters[0].span_uj = 9_999
    readings.read()
    for _ in range(20_000):
        true_uj += chance.randrange(10_000)
        found = readings.read()[0]
    readings.close()

    assert found == true_uj / 1000
    assert true_uj > 5_000 * 10_000


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_counter_for_root_alone_says_so(sysfs, tmp_path):
    sysfs.rapl(tmp_path, ZONES)
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").chmod(0)

    assert "root" in SENSOR.unavailable(Sysfs(tmp_path))
