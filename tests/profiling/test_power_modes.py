"""Power modes: what is offered, what is allowed, and that the original always comes back."""

from __future__ import annotations

import pytest
from edgewright.core.errors import Unfit
from edgewright.profiling.mode_journal import original_mode_kept, restore_mode
from edgewright.profiling.power_modes import NvpmodelSwitch, PowerMode, default_mode, read_modes, run_program, switchable
from edgewright.profiling.sysfs import Sysfs

CONF = """
# a comment < POWER_MODEL ID=9 NAME=NOT_ME >
< PARAM TYPE=FILE NAME=CPU_ONLINE >
CORE_0 /sys/devices/system/cpu/cpu0/online
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
GPU MAX_FREQ 612000000
GPU_POWER_GATING GPU_PG_MASK 0
< POWER_MODEL ID=1 NAME=25W >
GPU_POWER_GATING   GPU_PG_MASK   0
EMC MAX_FREQ -1
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
GPU_POWER_GATING GPU_PG_MASK 0
< POWER_MODEL ID=3 NAME=7W >
GPU_POWER_GATING GPU_PG_MASK 8
< PM_CONFIG DEFAULT=1 >
"""


@pytest.fixture
def tree(tmp_path):
    for path, text in (("etc/nvpmodel/nvpmodel_p3767_0003_super.conf", CONF), ("var/lib/nvpmodel/status", "pmode:0002\n")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "etc/nvpmodel.conf").symlink_to("/etc/nvpmodel/nvpmodel_p3767_0003_super.conf")
    return Sysfs(tmp_path)


@pytest.fixture(scope="module")
def mode_file(load_fake):
    return load_fake("mode_file")


@pytest.fixture
def switch(mode_file, tmp_path):
    (tmp_path / "mode").write_text("2")
    return mode_file.FakeSwitch(tmp_path / "mode")


def test_the_modes_of_the_file_are_read_with_their_power_gating(tree):
    gating = ("GPU_POWER_GATING GPU_PG_MASK 0",)

    assert read_modes(tree) == (
        PowerMode(0, "15W", gating),
        PowerMode(1, "25W", gating),
        PowerMode(2, "MAXN_SUPER", gating),
        PowerMode(3, "7W", ("GPU_POWER_GATING GPU_PG_MASK 8",)),
    )
    assert default_mode(tree) == 1
    assert NvpmodelSwitch(tree).current() == 2


def test_only_allowed_modes_that_need_no_reboot_are_switched_to(tree):
    chosen, reasons = switchable(read_modes(tree), 2, (0, 2, 3, 7))

    assert [mode.id for mode in chosen] == [0, 2]
    assert any("mode 1" in reason and "allow" in reason for reason in reasons)
    assert any("mode 3" in reason and "reboot" in reason for reason in reasons)
    assert any("mode 7" in reason and "no such mode" in reason for reason in reasons)


def test_without_a_known_mode_there_is_no_way_back_and_nothing_is_chosen(tree):
    assert switchable(read_modes(tree), None, (0, 1, 2))[0] == ()


def test_nothing_is_allowed_by_default(tree):
    assert switchable(read_modes(tree), 2, ())[0] == ()


def program(tmp_path, body):
    path = tmp_path / "nvpmodel"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def real_switch(tree, path):
    return NvpmodelSwitch(tree, lambda argv, time_s: run_program([str(path), *argv[1:]], min(time_s, 1.0)))


def test_the_program_is_asked_and_its_state_read_back(tree, tmp_path):
    path = program(tmp_path, f'test "$1" = -m && printf "pmode:%04d" "$2" > {tmp_path}/var/lib/nvpmodel/status')
    switch = real_switch(tree, path)

    switch.change(1)

    assert switch.current() == 1


@pytest.mark.parametrize(
    "body",
    ['echo "NVPM WARN: Reboot required. Reboot now? (y/n)"; read answer; echo "$answer" >> "$(dirname "$0")/answers"; exit 1', "exec sleep 60"],
)
def test_the_reboot_prompt_is_never_answered(tree, tmp_path, body):
    switch = real_switch(tree, program(tmp_path, body))

    with pytest.raises(Unfit) as caught:
        switch.change(3)

    assert caught.value.code == "mode-refused"
    assert "reboot" in caught.value.message
    assert not (tmp_path / "answers").exists() or (tmp_path / "answers").read_text().strip() == ""
    assert switch.current() == 2


def test_a_missing_program_is_a_reason(tree, tmp_path):
    with pytest.raises(Unfit, match="did not switch"):
        real_switch(tree, tmp_path / "absent").change(1)


def test_the_original_comes_back_after_the_work_and_after_an_error(switch, tmp_path):
    journal = tmp_path / "journal.json"
    with original_mode_kept(journal, switch) as original:
        switch.change(0)
        assert journal.exists()
    assert (original, switch.current(), journal.exists()) == (2, 2, False)

    def fail():
        with original_mode_kept(journal, switch):
            switch.change(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (switch.current(), journal.exists()) == (2, False)


def test_a_way_back_that_is_refused_keeps_the_journal_and_is_told(switch, tmp_path):
    journal = tmp_path / "journal.json"

    def bar_the_way():
        with original_mode_kept(journal, switch):
            switch.change(0)
            switch.refused = (2,)

    with pytest.raises(Unfit):
        bar_the_way()
    assert journal.exists()

    switch.refused = ()
    assert restore_mode(journal, switch) == 2
    assert switch.current() == 2


def test_a_broken_journal_is_never_taken_for_none(switch, tmp_path):
    (tmp_path / "journal.json").write_text("{}")

    with pytest.raises(Unfit) as caught:
        restore_mode(tmp_path / "journal.json", switch)

    assert caught.value.code == "mode-journal-unreadable"


def test_without_nvpmodel_nothing_is_changed(mode_file, tmp_path):
    with pytest.raises(Unfit) as caught, original_mode_kept(tmp_path / "journal.json", mode_file.FakeSwitch(tmp_path / "none")):
        pass

    assert caught.value.code == "mode-unknown"


def test_killed_at_fifty_random_points_the_original_comes_back(mode_file, tmp_path):
    left_elsewhere, restored = mode_file.kill_sweeps(tmp_path, 50)

    assert restored == 50
    assert left_elsewhere > 10
