from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make torch")

from edgewright.calibration.dialects import TENSORRT  # noqa: E402
from edgewright.core.errors import Rejected  # noqa: E402
from edgewright.distillation.filters import first_filters  # noqa: E402
from edgewright.distillation.objective import objective_from_text  # noqa: E402
from edgewright.distillation.spec import spec_from_text  # noqa: E402
from edgewright.distillation.student import student_wiring  # noqa: E402
from edgewright.distillation.training.checkpoint import FILE, read_checkpoint  # noqa: E402
from edgewright.distillation.training.trainer import Trainer, TrainSettings  # noqa: E402

SPEC = "plain:8,plain:16/2"


@pytest.fixture
def trainer_of(school_of, wide_classifier):
    """``trainer_of(losses, **settings)``: trainers of one teacher, open until the test ends."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def make(losses="hinton,activation_sequence=2", teacher=None, folder=None, stop=lambda: False, clock=None, spec=SPEC, **settings):
            school = stack.enter_context(school_of(teacher or wide_classifier))
            wiring = student_wiring(spec_from_text(spec), school.interface)
            lessons = stack.enter_context(school.lessons(wiring))
            measure = "agreement" if school.interface.can_soften else "sqnr_db"
            chosen = TrainSettings(objective_from_text(losses), measure, **{"epochs": 2, "batch": 16, **settings})
            more = {} if clock is None else {"clock": clock}
            return Trainer(wiring, first_filters(wiring, 0), lessons, chosen, "same", folder, stop=stop, **more)

        yield make


def same(one, other):
    return all(np.array_equal(one[name].weight, other[name].weight) and np.array_equal(one[name].bias, other[name].bias) for name in one)


def after(steps):
    """A `stop` that says yes from step `steps` on."""
    count = itertools.count()
    return lambda: next(count) >= steps


def test_a_student_comes_nearer_to_its_teacher(trainer_of):
    trained = trainer_of("outputs", epochs=40, rate=1e-2).run()

    assert trained.ending == "finished"
    assert [entry.number for entry in trained.history.epochs] == list(range(1, 41))
    assert trained.history.epochs[-1].loss < 0.5 * trained.history.epochs[0].loss


def test_equal_seeds_make_equal_students(trainer_of):
    first, again, other = (trainer_of(seed=seed).run().filters for seed in (1, 1, 2))

    assert same(first, again)
    assert not same(first, other)


@pytest.mark.parametrize("stop_after", [1, 3, 4, 6])
def test_a_training_that_was_stopped_and_resumed_ends_as_one_that_was_not(trainer_of, tmp_path, stop_after):
    whole = trainer_of("hinton,hints").run()
    stopped = trainer_of("hinton,hints", folder=tmp_path, stop=after(stop_after)).run()
    resumed = trainer_of("hinton,hints", folder=tmp_path)
    resumed.resume(read_checkpoint(tmp_path, "same"))
    finished = resumed.run()

    assert (stopped.ending, finished.ending) == ("stopped", "finished")
    assert same(whole.filters, finished.filters)
    assert [entry.loss for entry in whole.history.epochs] == [entry.loss for entry in finished.history.epochs]


def test_the_time_ends_a_training_and_leaves_a_checkpoint(trainer_of, tmp_path):
    ticks = itertools.count(0, 2.0)
    trained = trainer_of(epochs=1000, minutes=1.0, folder=tmp_path, clock=lambda: next(ticks)).run()

    assert trained.ending == "out-of-time"
    assert len(trained.history.epochs) < 20
    assert read_checkpoint(tmp_path, "same").history.seconds >= 60


def test_with_a_limit_on_time_the_rate_falls_to_nothing_by_then(trainer_of):
    ticks = itertools.count(0, 0.25)
    trained = trainer_of(epochs=1000, minutes=1.0, clock=lambda: next(ticks)).run()
    rates = [entry.rate for entry in trained.history.epochs]

    assert len(rates) > 3
    assert rates[-1] < 0.2 * max(rates)


def test_a_loss_that_becomes_nan_is_refused_and_the_last_good_checkpoint_stays(trainer_of, tmp_path):
    good = trainer_of(folder=tmp_path, stop=after(4))
    good.run()
    kept = (tmp_path / FILE).read_bytes()
    bad = trainer_of(folder=tmp_path)
    bad.resume(read_checkpoint(tmp_path, "same"))
    with torch.no_grad():
        next(iter(bad.learner.params.values())).fill_(float("nan"))

    with pytest.raises(Rejected) as caught:
        bad.run()

    assert caught.value.code == "training-diverged"
    assert "--rate" in caught.value.next_step
    assert (tmp_path / FILE).read_bytes() == kept
    assert all(bool(torch.isfinite(value).all()) for value in read_checkpoint(tmp_path, "same").params.values())


def test_a_rate_that_is_far_too_high_ends_with_the_same_error(trainer_of, tmp_path):
    with pytest.raises(Rejected) as caught:
        trainer_of("outputs", rate=1e30, epochs=30, folder=tmp_path).run()

    assert caught.value.code == "training-diverged"


def test_the_checkpoint_of_another_student_is_refused(trainer_of, tmp_path):
    trainer_of(folder=tmp_path, stop=after(1)).run()

    with pytest.raises(Rejected) as caught:
        read_checkpoint(tmp_path, "other")

    assert caught.value.code == "checkpoint-other"


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_checkpoint_that_is_absent_or_broken_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / FILE).write_bytes(content)

    with pytest.raises(Rejected) as caught:
        read_checkpoint(tmp_path, "same")

    assert caught.value.code == ("checkpoint-missing" if content is None else "checkpoint-unreadable")


def test_a_checkpoint_never_runs_code(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    torch.save({"identity": Evil()}, tmp_path / FILE, pickle_module=pickle)

    with pytest.raises(Rejected):
        read_checkpoint(tmp_path, "same")
    assert not (tmp_path / "ran").exists()


def test_the_activation_sequence_alone_teaches_without_a_softmax(trainer_of, models, tmp_path):
    """An embedding without a card: nothing says classes. The head is solved in closed form, on the features that the sequence made."""
    teacher = models.save(models.wide_classifier(), tmp_path / "embedding.onnx")

    trained = trainer_of("activation_sequence", teacher=teacher, epochs=15, rate=1e-2).run()

    assert trained.history.measure == "sqnr_db"
    assert trained.history.epochs[-1].loss < 0.5 * trained.history.epochs[0].loss
    assert trained.history.epochs[-1].score > 3


def test_the_last_part_is_trained_with_fake_quantisation(trainer_of):
    trained = trainer_of(epochs=8, dialect=TENSORRT).run()

    assert [entry.is_quantized for entry in trained.history.epochs] == [False] * 5 + [True] * 3


def test_a_student_with_one_batch_of_samples_still_learns(trainer_of):
    trainer = trainer_of(batch=1000)
    trainer.settings = replace(trainer.settings, epochs=1)

    assert trainer.run().ending == "finished"
