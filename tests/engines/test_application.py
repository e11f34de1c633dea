"""The application's side: what `edgewright.open` does when the agent switches, breaks or removes the current engine."""

from __future__ import annotations

import shutil
import threading

import edgewright
import numpy as np
import pytest
from edgewright.core.errors import Rejected, Unfit
from edgewright.core.files import link_atomic
from edgewright.engines import application


@pytest.fixture
def slots(models, tmp_path, seal_folder):
    """A state folder with the model "m" in two versions: `first` adds 1, `second` adds 2."""
    folder = tmp_path / "state" / "models" / "m"
    for name, offset in (("first", 1.0), ("second", 2.0)):
        add = models.model([models.node("Add", ["x", "c"], ["y"])], {"x": ["N"]}, {"y": ["N"]}, {"c": np.float32([offset])})
        models.save(add, folder / name / "model.onnx")
        seal_folder(folder / name, tmp_path / "state")
    link_atomic(folder / "current", "first")
    return folder


@pytest.fixture
def opened(slots):
    with edgewright.open("m", slots.parents[1]) as model:
        yield model


def answer(model):
    return float(model.infer({"x": np.float32([10])})["y"][0])


def test_runs_the_current_engine(opened):
    assert answer(opened) == 11
    assert opened.manifest.model_version == "first"
    assert [spec.name for spec in opened.inputs] == ["x"]
    assert [spec.name for spec in opened.outputs] == ["y"]
    assert opened.provider == "CPUExecutionProvider"


def test_the_state_folder_may_stand_in_the_environment(slots, monkeypatch):
    monkeypatch.setenv("EDGEWRIGHT_STATE", str(slots.parents[1]))

    with edgewright.open("m") as model:
        assert answer(model) == 11


def test_a_change_is_followed_while_the_old_engine_answers(opened, slots):
    link_atomic(slots / "current", "second")

    seen = [answer(opened)]
    while seen[-1] == 11:
        seen.append(answer(opened))

    assert seen[-1] == 12
    assert set(seen[:-1]) == {11}
    assert opened.manifest.model_version == "second"


def test_no_inference_waits_for_a_slow_engine(opened, slots, monkeypatch):
    open_folder, may_open = application.open_folder, threading.Event()

    def slowly(*arguments):
        assert may_open.wait(30)
        return open_folder(*arguments)

    monkeypatch.setattr(application, "open_folder", slowly)
    link_atomic(slots / "current", "second")

    assert [answer(opened) for _ in range(5)] == [11] * 5

    may_open.set()
    opened.reload()
    assert answer(opened) == 12


def test_reload_waits_for_what_the_link_says_now(opened, slots):
    link_atomic(slots / "current", "second")
    answer(opened)
    link_atomic(slots / "current", "first")
    opened.reload()

    assert answer(opened) == 11


@pytest.mark.parametrize("damage", ["modified", "no manifest", "no seal", "no folder", "not a model"])
def test_a_broken_new_engine_leaves_the_old_one_answering(opened, slots, damage, seal_folder):
    second = slots / "second"
    if damage == "modified":
        (second / "model.onnx").write_bytes(b"garbage")
    elif damage == "no manifest":
        (second / "manifest.json").unlink()
    elif damage == "no seal":
        (second / "manifest.sig").unlink()
    elif damage == "no folder":
        shutil.rmtree(second)
    else:
        (second / "model.onnx").write_bytes(b"garbage")
        seal_folder(second, slots.parents[1])
    link_atomic(slots / "current", "second")

    assert opened.reload() is False
    assert [answer(opened) for _ in range(3)] == [11, 11, 11]
    assert opened.manifest.model_version == "first"


def test_after_a_broken_engine_the_next_good_one_is_taken(opened, slots, seal_folder):
    (slots / "second" / "model.onnx").write_bytes(b"garbage")
    link_atomic(slots / "current", "second")
    opened.reload()
    shutil.copytree(slots / "first", slots / "third")
    seal_folder(slots / "third", slots.parents[1])
    link_atomic(slots / "current", "third")
    opened.reload()

    assert answer(opened) == 11
    assert opened.manifest.model_version == "third"


def test_bound_buffers_carry_the_input_over_to_the_new_engine(opened, slots):
    bound = opened.bind({"x": (2,)})
    bound.inputs["x"][...] = [10, 20]
    bound.run()
    assert bound.outputs["y"].tolist() == [11, 21]

    link_atomic(slots / "current", "second")
    opened.reload()
    bound.run()

    assert bound.outputs["y"].tolist() == [12, 22]


def test_an_engine_of_another_device_is_not_opened(slots, seal_folder, tmp_path):
    (slots / "first" / "manifest.sig").unlink()
    seal_folder(slots / "first", tmp_path / "another device")

    with pytest.raises(Unfit) as caught:
        edgewright.open("m", slots.parents[1])

    assert caught.value.code == "engine-untrusted"


def test_a_vanished_link_leaves_the_old_engine_answering(opened, slots):
    (slots / "current").unlink()

    assert answer(opened) == 11


def test_a_removed_folder_leaves_the_opened_engine_answering(opened, slots):
    shutil.rmtree(slots)

    assert answer(opened) == 11


def test_reload_says_whether_anything_changed(opened, slots):
    assert opened.reload() is False
    link_atomic(slots / "current", "second")
    assert opened.reload() is True
    assert opened.reload() is False


def test_without_an_active_engine_there_is_nothing_to_open(tmp_path):
    with pytest.raises(Unfit) as caught:
        edgewright.open("absent", tmp_path)

    assert caught.value.code == "model-absent"
    assert "'absent'" in caught.value.message


def test_a_first_engine_that_is_broken_is_an_error(slots):
    (slots / "first" / "model.onnx").write_bytes(b"garbage")

    with pytest.raises(Unfit) as caught:
        edgewright.open("m", slots.parents[1])

    assert caught.value.code == "engine-unusable"


def test_a_closed_model_stays_closed(slots):
    model = edgewright.open("m", slots.parents[1])
    model.close()
    link_atomic(slots / "current", "second")

    with pytest.raises(Unfit) as caught:
        answer(model)

    assert caught.value.code == "model-closed"


def test_wrong_feeds_are_the_callers_fault(opened):
    with pytest.raises(Rejected) as caught:
        opened.infer({"z": np.float32([1])})

    assert caught.value.code == "feeds-mismatch"
