"""Trains a student: batches in an order that the seed alone decides, checkpoints, a limit on time, and a stop that loses nothing.

Rules:
- the order of epoch e follows from (seed, e): a training that is stopped and resumed sees what an uninterrupted one sees, to the last bit;
- the rate rises over the first steps and falls along a cosine to zero; with a limit on minutes it falls with the time where that runs faster;
- a loss that is not finite is never learned from: the training ends, the last good checkpoint stays;
- for a quantised target the last part of the training runs with fake quantisation.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...calibration.writer import Dialect
from ...core.errors import Rejected
from ...core.plugins import load_plugin
from ..filters import Filters, filter_shape
from ..head import solved_head
from ..lessons import Indices, Lessons
from ..objective import Objective
from ..record import Ending, Epoch, History, Measure
from ..wiring import Conv, Wiring
from . import losses
from .checkpoint import Checkpoint
from .device import array_of, tensor_of
from .fake_quant import FakeQuant
from .losses._base import Loss
from .network import Learner, Seen
from .scoring import score_of

WARM_UP, WEIGHT_DECAY = 0.05, 5e-4
SAVE_EVERY_S = 60.0
Progress = Callable[[float, str], None]
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How to train. `minutes` None = no limit; `dialect` None = the student stays in float. `quantized_share` of the training is the finish."""

    objective: Objective
    measure: Measure
    epochs: int = 30
    batch: int = 32
    rate: float = 3e-3
    seed: int = 0
    minutes: float | None = None
    dialect: Dialect | None = None
    quantized_share: float = 0.25


@dataclass(frozen=True, slots=True)
class Trained:
    """What came out, and how the training ended."""

    filters: Filters
    history: History
    ending: Ending


@dataclass
class Trainer:
    """One training. `folder` None = no checkpoints. `stop` is asked before each step."""

    wiring: Wiring
    start: Filters
    lessons: Lessons
    settings: TrainSettings
    identity: str = ""
    folder: Path | None = None
    progress: Progress = lambda _share, _note: None
    stop: Callable[[], bool] = lambda: False
    clock: Clock = time.monotonic
    learner: Learner = field(init=False)
    history: History = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self.learner = Learner(self.wiring, self.start)
        self.losses: tuple[Loss, ...] = tuple(load_plugin(losses, term.loss).LOSS for term in settings.objective)
        self.regressors: dict[str, Tensor] = {}
        if any(loss.needs.taps for loss in self.losses):
            own = tuple(self.wiring.shapes[tap][0] for tap in self.wiring.taps)
            other = tuple(tap.shape[1] for tap in self.lessons.lesson(np.arange(1)).taps)
            for loss in self.losses:
                made = loss.regressors(own, other, settings.seed)
                self.regressors |= {name: value.detach().to(self.learner.device).requires_grad_(True) for name, value in made.items()}
        self.fixes_output = any(loss.needs.fixes_output for loss in self.losses)
        self.learned = [*self.learner.params.values(), *self.regressors.values()]
        self.optimizer = torch.optim.AdamW(self.learned, lr=settings.rate, weight_decay=WEIGHT_DECAY)
        self.history = History(losses=tuple(term.loss for term in settings.objective), measure=settings.measure)
        self.epoch = self.step = 0
        self.sums = np.zeros(1 + len(self.losses))
        self._started_s = self._saved_s = self._epoch_s = self.clock()

    def resume(self, found: Checkpoint) -> None:
        """Go on from a checkpoint of the same student."""
        for mine, theirs in ((self.learner.params, found.params), (self.regressors, found.regressors)):
            with torch.no_grad():
                for name, value in mine.items():
                    value.copy_(theirs[name])
        self.learner.stats = {name: value.to(self.learner.device) for name, value in found.stats.items()}
        self.optimizer.load_state_dict(found.optimizer)
        self.history, self.epoch, self.step, self.sums = found.history, found.epoch, found.step, np.asarray(found.sums)

    def run(self) -> Trained:
        """Train to the end, to the limit of time or until stopped.

        Raises:
            Rejected: ``training-diverged``; the last good checkpoint is kept.
        """
        self._started_s = self._saved_s = self._epoch_s = self.clock()
        base_s = self.history.seconds
        ending: Ending = "finished"
        while self.epoch < self.settings.epochs and ending == "finished":
            ending = self._one_epoch(base_s)
        self._fit_head()
        self.history = replace_seconds(self.history, base_s + self.clock() - self._started_s)
        self._save()
        return Trained(self.learner.filters(), self.history, ending)

    def _one_epoch(self, base_s: float) -> Ending:
        settings = self.settings
        order = np.random.default_rng([settings.seed, self.epoch]).permutation(self.lessons.trained_on)
        size = min(settings.batch, len(order))
        steps = len(order) // size
        while self.step < steps:
            spent = base_s + self.clock() - self._started_s
            if self.stop():
                return "stopped"
            if settings.minutes is not None and spent >= 60 * settings.minutes:
                return "out-of-time"
            share = self._share(steps, spent)
            rate = self._rate(share)
            self._one_step(np.sort(order[self.step * size : (self.step + 1) * size]), rate, self._quantizer(share))
            self.step += 1
            self.progress(min(share, 1.0), f"epoch {self.epoch + 1} of {settings.epochs}")
            if self.clock() - self._saved_s > SAVE_EVERY_S:
                self._save()
        spent = base_s + self.clock() - self._started_s
        self._close_epoch(steps, self._share(steps, spent), spent)
        return "finished"

    def _one_step(self, chosen: Indices, rate: float, quantizer: FakeQuant | None) -> None:
        lesson, device = self.lessons.lesson(chosen), self.learner.device
        teacher = Seen(tensor_of(lesson.output, device), tuple(tensor_of(tap, device) for tap in lesson.taps))
        labels = None if self.lessons.labels is None else tensor_of(self.lessons.labels[chosen], device)
        seen = self.learner.run(tensor_of(self.lessons.inputs[chosen], device), is_learning=True, quantizer=quantizer)
        pairs = zip(self.losses, self.settings.objective, strict=True)
        parts = [term.weight * loss(seen, teacher, labels, self.regressors) for loss, term in pairs]
        total = torch.stack(parts).sum()
        if not bool(torch.isfinite(total)):
            raise self._diverged()
        self.optimizer.zero_grad()
        total.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.sums += [float(total.detach()), *(float(part.detach()) for part in parts)]

    def _diverged(self) -> Rejected:
        done = len(self.history.epochs)
        kept = "no epoch was finished" if done == 0 else f"the state after epoch {done} is kept"
        message = f"the loss became NaN or infinite in epoch {self.epoch + 1} at the rate {self.settings.rate:g}; {kept}"
        again = f"--resume with --rate {self.settings.rate / 4:g}" if done else f"Start again with --rate {self.settings.rate / 4:g}"
        return Rejected("training-diverged", message, f"{again}, or with smaller weights of the losses")

    def _close_epoch(self, steps: int, share: float, spent: float) -> None:
        """Judge the epoch, remember it, keep it."""
        self._fit_head()
        quantizer = self._quantizer(share)
        score = score_of(self.learner, self.lessons, self.lessons.held_out, self.settings.measure, quantizer)
        if not math.isfinite(score):
            raise self._diverged()
        means = self.sums / steps
        entry = Epoch(
            number=self.epoch + 1,
            loss=float(means[0]),
            parts=tuple(float(value) for value in means[1:]),
            score=score,
            rate=self._rate(min(share, 1.0)),
            seconds=self.clock() - self._epoch_s,
            is_quantized=quantizer is not None,
        )
        self._epoch_s = self.clock()
        self.history = History(losses=self.history.losses, measure=self.history.measure, epochs=(*self.history.epochs, entry), seconds=spent)
        self.epoch, self.step, self.sums = self.epoch + 1, 0, np.zeros_like(self.sums)
        self._save()

    def _share(self, steps: int, spent: float) -> float:
        """How much of the training is done, by steps or by time, whichever is more."""
        done = (self.epoch * steps + self.step) / (self.settings.epochs * steps)
        return done if self.settings.minutes is None else max(done, spent / (60 * self.settings.minutes))

    def _rate(self, share: float) -> float:
        if share < WARM_UP:
            return self.settings.rate * (0.1 + 0.9 * share / WARM_UP)
        return self.settings.rate * 0.5 * (1 + math.cos(math.pi * min(1.0, (share - WARM_UP) / (1 - WARM_UP))))

    def _quantizer(self, share: float) -> FakeQuant | None:
        dialect = self.settings.dialect
        return None if dialect is None or share < 1 - self.settings.quantized_share else FakeQuant(dialect)

    def _fit_head(self) -> None:
        """Solve the last layer when no loss tells what to put out."""
        if self.fixes_output:
            return
        op = next(op for op in self.wiring.weighted if op.name == self.wiring.output)
        rows, aims = [], []
        with torch.no_grad():
            for start in range(0, len(self.lessons.trained_on), 128):
                part = self.lessons.trained_on[start : start + 128]
                made = self.learner.tensors(tensor_of(self.lessons.inputs[part], self.learner.device), is_learning=False)[op.source]
                aim = torch.from_numpy(self.lessons.lesson(part).output)
                if isinstance(op, Conv):
                    rows.append(array_of(made.movedim(1, -1).flatten(0, 2)))
                    aims.append(aim.reshape(len(part), op.channels_out, -1).movedim(1, -1).flatten(0, 1).numpy())
                else:
                    rows.append(array_of(made))
                    aims.append(aim.numpy())
        self.learner.set_head(solved_head(np.concatenate(rows), np.concatenate(aims), filter_shape(op)))

    def _save(self) -> None:
        self._saved_s = self.clock()
        if self.folder is None:
            return
        params = {name: value.detach() for name, value in self.learner.params.items()}
        regressors = {name: value.detach() for name, value in self.regressors.items()}
        state = self.optimizer.state_dict()
        sums = tuple(float(value) for value in self.sums)
        Checkpoint(self.identity, self.epoch, self.step, params, self.learner.stats, regressors, state, self.history, sums).save(self.folder)


def replace_seconds(history: History, seconds: float) -> History:
    return History(losses=history.losses, measure=history.measure, epochs=history.epochs, seconds=seconds)
