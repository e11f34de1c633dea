"""Trees as they are found in the field: renumbered, half-copied, hostile. Nothing of them may crash, hang, or lead out of the root."""

from __future__ import annotations

import errno
import os
import random
import shutil

import pytest
from edgewright.profiling.reading import read_power
from edgewright.profiling.survey import open_rails, sensor_statuses, survey_power
from edgewright.profiling.sysfs import Sysfs

CHIP = "sys/devices/platform/bus@0/c240000.i2c/i2c-1/1-0040/hwmon/hwmon1"


@pytest.fixture
def orin(boards, tmp_path):
    next(board for board in boards.BOARDS if board.name == "orin_nano_jp6").build(tmp_path)
    return tmp_path


def total(root):
    return read_power(survey_power(root), 0.01)


def test_plain_copies_of_the_same_device_in_two_places_are_one_device(orin):
    for link in ("sys/class/hwmon/hwmon1", "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"):
        (orin / link).unlink()
        shutil.copytree(orin / CHIP, orin / link)

    found = total(orin)

    assert [rail.rail.label for rail in found.rails] == ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]
    assert pytest.approx(9250.304) == found.total.mean_mw


@pytest.mark.parametrize("kept", ["sys/class/hwmon/hwmon1", "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"])
def test_either_place_alone_is_enough(orin, kept):
    for link in {"sys/class/hwmon/hwmon1", "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"} - {kept}:
        (orin / link).unlink()

    assert pytest.approx(9250.304) == total(orin).total.mean_mw


def test_a_driver_that_keeps_its_files_in_the_device_s_folder_is_read(boards, tmp_path):
    for name, value in (("name", "ina3221"), ("in1_label", "VDD_IN"), ("in1_input", 5000), ("curr1_input", 1000)):
        boards.write(tmp_path, f"sys/class/hwmon/hwmon0/device/{name}", value)

    assert total(tmp_path).total.mean_mw == 5000


def test_a_link_out_of_the_tree_is_not_followed(orin, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret"
    outside.write_text("77777\n")
    for target in (str(outside), "../" * 40 + str(outside).lstrip("/")):
        (orin / CHIP / "curr1_input").unlink()
        (orin / CHIP / "curr1_input").symlink_to(target)

        found = total(orin)

        assert found.total is None
        assert found.rails[0].mean_mw is None


def test_links_in_a_circle_end(orin):
    (orin / CHIP / "curr1_input").unlink()
    (orin / CHIP / "curr1_input").symlink_to("curr1_input")
    (orin / "sys/class/hwmon/hwmon9").symlink_to("hwmon9")

    assert total(orin).total is None


def test_a_fifo_in_place_of_a_value_does_not_hang(orin):
    (orin / CHIP / "curr1_input").unlink()
    os.mkfifo(orin / CHIP / "curr1_input")

    assert total(orin).total is None


def test_a_folder_in_place_of_a_value_is_no_value(orin):
    (orin / CHIP / "in2_input").unlink()
    (orin / CHIP / "in2_input").mkdir()

    found = total(orin)

    assert found.rails[1].mean_mw is None
    assert pytest.approx(9250.304) == found.total.mean_mw


@pytest.mark.parametrize(
    "garbage", [b"", b"\n", b"\0\0\0\0", b"nan", b"1e9", b"0x10", b"5 0", b"\xff\xfe", b"9" * 30, b"99999999", b"--5", b"5000mV"]
)
def test_garbage_in_a_value_is_a_gap_and_no_number(orin, garbage):
    (orin / CHIP / "curr1_input").write_bytes(garbage)

    found = total(orin)

    assert found.total is None
    assert "VDD_IN" in found.total_reason
    assert found.rails[0].missing == found.samples


@pytest.mark.parametrize("file", ["name", "in1_label", "samples", "update_interval", "in1_enable"])
@pytest.mark.parametrize("garbage", [b"", b"\xff\xff", b"\0", b"-1", b"9" * 5000])
def test_garbage_in_a_description_does_not_crash(orin, file, garbage):
    (orin / CHIP / file).write_bytes(garbage)

    found = total(orin)

    assert found.total is None or found.total.mean_mw == pytest.approx(9250.304)


def test_a_missing_current_is_told_by_rail(orin):
    (orin / CHIP / "curr1_input").unlink()

    found = total(orin)

    assert found.total is None
    assert found.rails[0].reason == "no reading (vanished)"


def test_a_negative_current_keeps_its_sign(orin):
    (orin / CHIP / "curr3_input").write_text("-8\n")

    assert total(orin).rails[2].mean_mw == pytest.approx(-8 * 4.984)


def test_a_channel_that_is_switched_off_is_no_rail(orin):
    (orin / CHIP / "in2_enable").write_text("0\n")

    assert [rail.rail.label for rail in total(orin).rails] == ["VDD_IN", "VDD_SOC"]


def test_carriage_returns_and_blanks_around_values_do_not_matter(orin):
    (orin / CHIP / "in1_label").write_bytes(b"  VDD_IN \r\n")
    (orin / CHIP / "in1_input").write_bytes(b" 4984\r\n")

    assert pytest.approx(9250.304) == total(orin).total.mean_mw


def test_the_filter_is_that_of_512_averages_in_430_ms(orin):
    rail = survey_power(orin).rails[0]

    # One step of an exponential average over N: ln(1 - 1/512) is -0.00195503
    assert pytest.approx(0.430 / 512 / 0.00195503, rel=1e-5) == rail.traits.filter_s
    assert pytest.approx(4.984 * 8) == rail.traits.resolution_mw


def test_without_averaging_there_is_no_filter_and_without_files_it_is_unknown(orin):
    (orin / CHIP / "samples").write_text("1\n")
    assert survey_power(orin).rails[0].traits.filter_s == 0.0

    (orin / CHIP / "samples").unlink()
    assert survey_power(orin).rails[0].traits.filter_s is None


def test_the_owner_s_filter_constant_wins(boards, orin):
    boards.write(orin, "etc/edgewright/power.toml", "filter_s = 0.39")

    survey = survey_power(orin)

    assert survey.filter_s(survey.rails[0].key) == 0.39


def test_another_root_never_asks_this_machine(tmp_path):
    reasons = {status.name: status.reason for status in sensor_statuses(Sysfs(tmp_path))}

    assert "another root" in reasons["nvml"]
    assert "another root" in reasons["tegrastats"]


def test_a_device_that_is_bound_again_under_another_number_is_found_again(boards, orin):
    survey = survey_power(orin)
    gone = [False]

    def read(descriptor, count, offset):
        if gone[0]:
            raise OSError(errno.ENODEV, "unbound")
        return os.pread(descriptor, count, offset)

    survey = survey_power(tree=Sysfs(orin, read))
    with open_rails(survey, survey.rails) as reader:
        assert reader.read()[0] == pytest.approx(9250.304)
        shutil.rmtree(orin / "sys/devices")
        for link in ("sys/class/hwmon/hwmon1", "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"):
            (orin / link).unlink()
        boards.hwmon_ina3221(orin, "1-0040", 7, [("VDD_IN", 5000, 1000), ("VDD_CPU_GPU_CV", 5000, 400), ("VDD_SOC", 5000, 480)])
        gone[0] = True
        assert reader.read() == [None, None, None]
        gone[0] = False

        reader.opened[0][0]._next_locate_s = 0.0
        reader.read()

        assert reader.read() == [5000, 2000, 2400]
        assert reader.faults[survey.rails[0].key, "vanished"] >= 1


@pytest.mark.parametrize("name", ["orin_nano_jp6", "agx_orin_jp6_12v", "tx2_jp4"])
def test_fuzzed_reads_never_crash_and_every_gap_is_accounted(boards, load_fake, tmp_path, name):
    next(board for board in boards.BOARDS if board.name == name).build(tmp_path)

    faults, gaps, reads = load_fake("torn_driver").fuzz_reads(tmp_path, int(os.environ.get("EDGEWRIGHT_FUZZ_READS", "20000")))

    assert faults == gaps > 0
    assert reads >= 20000


def test_whole_trees_of_random_bytes_do_not_crash(boards, tmp_path):
    chance = random.Random(4)
    for index, board in enumerate(boards.BOARDS):
        root = tmp_path / str(index)
        root.mkdir()
        board.build(root)
        files = [path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink()]
        for file in chance.sample(files, len(files) // 3):
            file.write_bytes(chance.randbytes(chance.randrange(40)))

        found = total(root)

        assert (found.total is None) is bool(found.total_reason)
