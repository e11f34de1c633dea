"""A teacher with its data, opened once; any number of students can be taught from it, each by a teacher with the taps that it looks at."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..calibration.normalize import normalized_model
from ..compression.network import Network
from ..core.card import ModelCard
from ..core.dataset import Dataset
from ..core.digest import digest_of_file
from .forward_only import fitted_taps
from .interface import Interface, interface_of
from .lessons import Lessons, read_lessons
from .objective import Objective, check_objective, default_objective, looks_inside, objective_from_text
from .request import DistillOptions
from .taps import teacher_taps
from .teacher import Size, open_teacher
from .wiring import Wiring

Progress = Callable[[float, str], None]
# How many samples tell whether labels are the teacher's at all, and up to how many times the share that guessing gets right they seem not to be.
_ASKED, _DOUBTFUL = 256, 1.5


@dataclass(frozen=True)
class School:
    """The teacher as a network, what a student of it looks like from outside, its samples, and the losses."""

    path: Path
    network: Network
    interface: Interface
    samples: Lessons
    objective: Objective
    notes: tuple[str, ...]
    threads: int

    @contextmanager
    def lessons(self, wiring: Wiring, *, is_forward_only: bool = False) -> Iterator[Lessons]:
        """The lessons for one student, with the teacher's activations where the losses look at them."""
        sizes: list[Size] | None = None
        if is_forward_only:
            taps = fitted_taps(self.network, wiring)
        else:
            taps = self.taps(wiring) if looks_inside(self.objective) else ()
            sizes = [wiring.shapes[tap][1:] for tap, _ in zip(wiring.taps, taps, strict=False)]
        with open_teacher(self.network.model, self.interface, taps, sizes=sizes, threads=self.threads) as teacher:
            yield Lessons(self.samples.inputs, self.samples.labels, teacher, self.samples.offered)

    def taps(self, wiring: Wiring) -> tuple[str, ...]:
        return teacher_taps(self.network, wiring)

    def identity(self, spec: str, seed: int) -> str:
        """Of one student of this teacher, its data and its losses: what a checkpoint may be resumed for."""
        samples = self.samples
        parts = [digest_of_file(self.path), self.interface.output_name, spec, str(seed), *(term.loss for term in self.objective)]
        digest = hashlib.sha256("\n".join(parts).encode())
        digest.update(samples.inputs.tobytes())
        digest.update(b"" if samples.labels is None else samples.labels.tobytes())
        return digest.hexdigest()


@contextmanager
def open_school(path: Path, card: ModelCard, open_data: Callable[[], Dataset], options: DistillOptions) -> Iterator[School]:
    """Read the teacher at `path` and its data, and hold the options against both.

    Raises:
        Rejected: what is wrong with the teacher, its data, its labels or the losses.
    """
    normalized = normalized_model(path)
    network = Network(normalized.model)
    interface = interface_of(normalized.model, card, network.shapes, options.output)
    with open_teacher(network.model, interface, (), threads=options.threads) as teacher:
        samples = read_lessons(open_data(), normalized.model, interface, teacher, labels=options.labels)
        has_labels, has_taps = samples.labels is not None, _has_pictures(network)
        if options.losses is None:
            objective = default_objective(interface, has_labels=has_labels, has_taps=has_taps)
        else:
            objective = objective_from_text(options.losses)
        check_objective(objective, interface, has_labels=has_labels, has_taps=has_taps)
        notes = [*normalized.notes, *_doubts(samples, interface)]
        if len(samples.inputs) < samples.offered:
            notes.append(f"{len(samples.inputs)} of {samples.offered} samples fit into memory and were used")
        yield School(path, network, interface, samples, objective, tuple(notes), options.threads)


def _doubts(samples: Lessons, interface: Interface) -> list[str]:
    """Labels in another order than the teacher's classes, or of other samples, can be read, and teach nonsense."""
    if samples.labels is None or interface.classes is None:
        return []
    asked = np.linspace(0, len(samples.inputs) - 1, min(_ASKED, len(samples.inputs))).astype(np.intp)
    share = float((samples.lesson(asked).output.argmax(1) == samples.labels[asked]).mean())
    if share > _DOUBTFUL / interface.classes:
        return []
    return [
        f"the teacher itself gets {100 * share:.0f} % of the labels right, and guessing 1 of {interface.classes}: do they belong to these samples?"
    ]


def _has_pictures(network: Network) -> bool:
    return any(len(network.shapes.get(node.output[0], ())) == 4 for node in network.model.graph.node)
