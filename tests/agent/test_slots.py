"""The slots: one write, one rename; whoever finds them different repairs the link; whatever is damaged, what runs goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edgewright.agent.slots import ModelSlots, Slot, Slots, all_models
from edgewright.core.errors import Unfit
from edgewright.engines.manifest import Manifest, list_files, write_manifest
from edgewright.engines.provenance import device_signer


def slot(folder: str) -> Slot:
    return Slot(folder=folder, deployment=folder.rpartition("-")[0], version="1", backend="null", engine_digest="e", since_s=5.0)


def build(folder: Path, deployment: str = "d1") -> Path:
    folder.mkdir(parents=True)
    (folder / "engine.onnx").write_bytes(b"engine")
    (folder / "engine.onnx").chmod(0o600)
    write_manifest(
        folder,
        Manifest(
            model="m",
            deployment=deployment,
            model_version="1",
            engine="engine.onnx",
            card=None,
            backend="null",
            backend_version="1",
            provider="none",
            fingerprint="f",
            files=list_files(folder),
        ),
        device_signer(folder.parent),
    )
    return folder


@pytest.fixture
def slots(tmp_path: Path) -> ModelSlots:
    return ModelSlots(tmp_path, "m")


@pytest.fixture
def staged(tmp_path: Path, slots: ModelSlots) -> Callable[..., None]:
    def stage(*folders: str) -> None:
        for folder in folders:
            slots.stage(build(tmp_path / "work" / folder, folder.rpartition("-")[0]), folder)

    return stage


def link(state: Path) -> str | None:
    path = state / "models" / "m" / "current"
    return str(path.readlink()) if path.is_symlink() else None


def names(slots: Slots) -> list[str | None]:
    return [entry.folder if entry is not None else None for entry in (slots.active, slots.previous, slots.trial)]


def test_a_model_that_is_not_here_has_empty_slots(slots: ModelSlots, tmp_path: Path) -> None:
    assert (slots.read(), link(tmp_path), all_models(tmp_path)) == (Slots(), None, [])


def test_an_engine_is_staged_readable_for_applications_of_other_users(slots: ModelSlots, tmp_path: Path) -> None:
    target = slots.stage(build(tmp_path / "work"), "d1-1")

    assert target == tmp_path / "models/m/engines/d1-1"
    assert [path.stat().st_mode & 0o777 for path in (target, target.parent, target / "engine.onnx")] == [0o755, 0o755, 0o644]
    assert not (tmp_path / "work").exists()
    assert all_models(tmp_path) == ["m"]


def test_staging_again_after_a_crash_does_nothing(slots: ModelSlots, tmp_path: Path) -> None:
    slots.stage(build(tmp_path / "work"), "d1-1")

    assert slots.stage(tmp_path / "work", "d1-1").is_dir()


def test_staging_what_is_not_there_says_so(slots: ModelSlots, tmp_path: Path) -> None:
    with pytest.raises(Unfit) as caught:
        slots.stage(tmp_path / "absent", "d1-1")

    assert caught.value.code == "engine-lost"


def test_a_trial_runs_beside_what_is_active_and_is_confirmed(slots: ModelSlots, staged: Callable[..., None], tmp_path: Path) -> None:
    staged("d1-1", "d2-1")
    slots.begin_trial(slot("d1-1"))
    assert (names(slots.read()), link(tmp_path)) == ([None, None, "d1-1"], "engines/d1-1")
    assert slots.confirm("d1-1")
    assert names(slots.read()) == ["d1-1", None, None]
    slots.begin_trial(slot("d2-1"))
    assert (names(slots.read()), link(tmp_path)) == (["d1-1", None, "d2-1"], "engines/d2-1")
    assert slots.confirm("d2-1")

    assert (names(slots.read()), link(tmp_path)) == (["d2-1", "d1-1", None], "engines/d2-1")


def test_a_trial_of_an_engine_that_has_gone_does_not_begin(slots: ModelSlots, staged: Callable[..., None], tmp_path: Path) -> None:
    staged("d1-1")
    slots.begin_trial(slot("d1-1"))
    with pytest.raises(Unfit):
        slots.begin_trial(slot("d9-1"))

    assert link(tmp_path) == "engines/d1-1"


def test_beginning_a_trial_again_after_a_crash_forgets_no_start(slots: ModelSlots, staged: Callable[..., None]) -> None:
    staged("d1-1")
    slots.begin_trial(slot("d1-1"))
    slots.count_start(3)
    slots.begin_trial(slot("d1-1"))

    assert slots.read().starts == 1


def test_confirming_again_after_a_crash_is_true_and_changes_nothing(slots: ModelSlots, staged: Callable[..., None]) -> None:
    staged("d1-1")
    slots.begin_trial(slot("d1-1"))
    slots.confirm("d1-1")
    before = slots.read()

    assert slots.confirm("d1-1")
    assert before == slots.read()


def test_what_was_taken_out_is_not_confirmed(slots: ModelSlots, staged: Callable[..., None]) -> None:
    staged("d1-1", "d2-1")
    slots.begin_trial(slot("d1-1"))
    slots.confirm("d1-1")
    slots.begin_trial(slot("d2-1"))
    slots.count_start(0)

    assert not slots.confirm("d2-1")
    assert slots.read().active == slot("d1-1")


def test_a_trial_that_is_taken_out_leaves_what_was_active(slots: ModelSlots, staged: Callable[..., None], tmp_path: Path) -> None:
    staged("d1-1", "d2-1")
    slots.begin_trial(slot("d1-1"))
    slots.confirm("d1-1")
    slots.begin_trial(slot("d2-1"))
    slots.take_out("d2-1")
    assert (names(slots.read()), link(tmp_path)) == (["d1-1", None, None], "engines/d1-1")
    slots.take_out("d2-1")

    assert names(slots.read()) == ["d1-1", None, None]


def test_without_anything_before_it_the_link_goes_with_a_trial(slots: ModelSlots, staged: Callable[..., None], tmp_path: Path) -> None:
    staged("d1-1")
    slots.begin_trial(slot("d1-1"))
    slots.take_out("d1-1")

    assert (names(slots.read()), link(tmp_path)) == ([None, None, None], None)


def test_what_was_confirmed_before_a_crash_is_taken_out_all_the_same(slots: ModelSlots, staged: Callable[..., None], tmp_path: Path) -> None:
    staged("d1-1", "d2-1")
    for folder in ("d1-1", "d2-1"):
        slots.begin_trial(slot(folder))
        slots.confirm(folder)
    slots.take_out("d2-1")
    assert (names(slots.read()), link(tmp_path)) == (["d1-1", None, None], "engines/d1-1")
    slots.take_out("d2-1")

    assert names(slots.read()) == ["d1-1", None, None]


def test_the_owner_falls_back_once_however_often_it_is_tried(slots: ModelSlots, staged: Callable[..., None], tmp_path: Path) -> None:
    staged("d1-1", "d2-1")
    for folder in ("d1-1", "d2-1"):
        slots.begin_trial(slot(folder))
        slots.confirm(folder)
    for _ in range(2):
        slots.fall_back("d2-1")

        assert (names(slots.read()), link(tmp_path)) == (["d1-1", "d2-1", None], "engines/d1-1")


@pytest.mark.parametrize("is_deleted", [False, True])
def test_without_a_previous_engine_nobody_falls_back(is_deleted: bool, slots: ModelSlots, staged: Callable[..., None]) -> None:
    staged("d1-1", "d2-1")
    for folder in ("d1-1", "d2-1") if is_deleted else ("d2-1",):
        slots.begin_trial(slot(folder))
        slots.confirm(folder)
    shutil.rmtree(slots.engines / "d1-1")
    before = slots.read()
    with pytest.raises(Unfit) as caught:
        slots.fall_back("d2-1")

    assert (caught.value.code, before) == ("no-previous", slots.read())


def test_starts_are_counted_during_a_trial_only_and_too_many_take_it_out(slots: ModelSlots, staged: Callable[..., None], tmp_path: Path) -> None:
    staged("d1-1", "d2-1")
    slots.begin_trial(slot("d1-1"))
    slots.confirm("d1-1")
    assert not slots.count_start(3)
    assert slots.read().starts == 0
    slots.begin_trial(slot("d2-1"))

    assert [slots.count_start(3) for _ in range(5)] == [False, False, False, True, False]
    assert (names(slots.read()), link(tmp_path)) == (["d1-1", None, None], "engines/d1-1")
    reverted = slots.read().reverted
    assert reverted is not None
    assert (reverted.code, "4 times" in reverted.message, slots.read().reverted_from) == ("crash-loop", True, "d2-1")
    slots.take_out("d2-1")
    assert slots.read().reverted is None


@pytest.mark.parametrize("what", ["write", "link"])
def test_after_a_crash_between_slots_and_link_the_next_look_repairs_it(
    what: str, slots: ModelSlots, staged: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged("d1-1", "d2-1")
    slots.begin_trial(slot("d1-1"))
    slots.confirm("d1-1")

    class Crash(BaseException):
        pass

    def crash(*_: Any) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr("edgewright.agent.slots." + ("write_atomic" if what == "write" else "link_atomic"), crash)
        with pytest.raises(Crash):
            slots.begin_trial(slot("d2-1"))
    assert link(tmp_path) == "engines/d1-1"
    ModelSlots(tmp_path, "m").repair()

    expected = "d1-1" if what == "write" else "d2-1"
    assert link(tmp_path) == f"engines/{expected}"
    assert slots.read().running == slot(expected)


def test_a_repair_of_what_is_whole_writes_nothing(
    slots: ModelSlots, staged: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged("d1-1")
    slots.begin_trial(slot("d1-1"))

    def full(*_: object, **__: object) -> None:
        raise Unfit("disk-full", "the disk is full", "Free space")

    monkeypatch.setattr("edgewright.agent.slots.write_atomic", full)
    monkeypatch.setattr("edgewright.agent.slots.link_atomic", full)
    slots.repair()

    assert link(tmp_path) == "engines/d1-1"


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b'{"active": 5}', None])
def test_damaged_slots_leave_what_runs_running(data: bytes | None, slots: ModelSlots, staged: Callable[..., None], tmp_path: Path) -> None:
    staged("d1-1", "d2-1")
    for folder in ("d1-1", "d2-1"):
        slots.begin_trial(slot(folder))
        slots.confirm(folder)
    file = tmp_path / "models/m/slots.json"
    file.unlink()
    if data is not None:
        file.write_bytes(data)
    slots.repair()

    active = slots.read().active
    assert active is not None
    assert (active.folder, active.deployment, active.backend, link(tmp_path)) == ("d2-1", "d2", "null", "engines/d2-1")
    assert file.read_bytes() != data, "it is written anew"


@pytest.mark.parametrize("target", ["engines/absent", "/etc", "../..", "engines"])
def test_a_link_to_anything_but_a_whole_engine_says_nothing(target: str, slots: ModelSlots, staged: Callable[..., None], tmp_path: Path) -> None:
    staged("d1-1")
    (tmp_path / "models/m/current").symlink_to(target)

    assert slots.read() == Slots()


def test_slots_that_the_disk_does_not_give_out_are_not_replaced(slots: ModelSlots, staged: Callable[..., None], tmp_path: Path) -> None:
    staged("d1-1")
    slots.begin_trial(slot("d1-1"))
    file = tmp_path / "models/m/slots.json"
    file.unlink()
    file.mkdir()  # reading it is an error that is no absence, also for root
    for call in (slots.read, slots.repair, lambda: slots.confirm("d1-1")):
        with pytest.raises(Unfit) as caught:
            call()

        assert caught.value.code == "slots-unreadable"
    assert link(tmp_path) == "engines/d1-1"


def test_engines_that_no_slot_names_are_deleted(slots: ModelSlots, staged: Callable[..., None]) -> None:
    staged("d1-1", "d2-1", "d3-1", "d4-1")
    for folder in ("d1-1", "d2-1"):
        slots.begin_trial(slot(folder))
        slots.confirm(folder)
    slots.clean(frozenset({"d3-1"}))

    assert sorted(path.name for path in slots.engines.iterdir()) == ["d1-1", "d2-1", "d3-1"]


def test_a_model_leaves_with_everything(slots: ModelSlots, staged: Callable[..., None], tmp_path: Path) -> None:
    staged("d1-1")
    slots.begin_trial(slot("d1-1"))
    for _ in range(2):
        slots.remove()

        assert (all_models(tmp_path), slots.read()) == ([], Slots())
