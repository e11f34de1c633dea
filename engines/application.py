"""The application's side: ``edgewright.open("NAME")`` follows the model's current engine, also across a deployment.

The contract is a folder: ``STATE/models/NAME/current`` is a symbolic link to a folder that holds the engine, its card, ``manifest.json`` and
its seal. The agent switches the link in one rename. A runner from here looks at the link before each inference (one ``readlink``, about a
microsecond); the new engine is opened on a thread while the old one goes on answering, so that no call fails or waits.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import EdgewrightError, Unfit
from ..core.tensors import TensorSpec
from .base import Array, Bound, Runner, Shapes, Tensors
from .manifest import Manifest
from .opening import open_folder
from .provenance import DEFAULT_STATE, STATE_VARIABLE, Trusted, trusted_keys

CURRENT = "current"


class ModelRunner:
    """The current engine of one model. A context manager; not for several threads at once."""

    def __init__(self, link: Path, trusted: Trusted) -> None:
        self._link = link
        self._trusted = trusted
        self._target = ""
        self._failed_target = ""
        self._loaded: _Loaded | None = None
        self._opening: _Opening | None = None
        self._is_closed = False
        self.reload()

    @property
    def manifest(self) -> Manifest:
        """What is loaded now."""
        return self._now.manifest

    @property
    def folder(self) -> Path:
        """Where what is loaded now lies: the engine, its card, its manifest."""
        return self._link.parent / self._target

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._now.runner.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._now.runner.outputs

    @property
    def provider(self) -> str:
        return self._now.runner.provider

    def infer(self, feeds: Tensors) -> dict[str, Array]:
        """Run once on the current engine. When the model has changed, the new engine is opened beside it meanwhile, and takes over when it
        is ready; one that cannot be opened is left alone, and the old one answers: the agent's probation decides about it.
        """
        return self.follow().infer(feeds)

    def bind(self, shapes: Shapes | None = None) -> ModelBound:
        """Fixed buffers, for the least latency: write `inputs`, call `run`, read `outputs`. `shapes` names inputs with free axes."""
        return ModelBound(self, shapes or {})

    def follow(self) -> Runner:
        """The runner that answers now; starts or ends a change of the engine. Never waits."""
        target = self._read_link()
        if target not in {self._target, self._failed_target}:
            if self._opening is None:
                self._opening = _Opening(self._link.parent / target, self._trusted)
            elif self._opening.is_done:
                self._take_over(self._opening)
        return self._now.runner

    def reload(self) -> bool:
        """Wait until what `current` points to now is loaded; returns whether it changed.

        Raises:
            Unfit: ``model-absent``, ``engine-untrusted``, ``engine-foreign`` or ``engine-unusable``, when nothing is loaded yet.
        """
        if self._opening is not None:
            self._opening.wait()
            self._take_over(self._opening)
        before, target = self._target, self._read_link()
        if target not in {self._target, self._failed_target}:
            opening = _Opening(self._link.parent / target, self._trusted)
            opening.wait()
            self._take_over(opening)
        return self._target != before

    def _take_over(self, opening: _Opening) -> None:
        self._opening = None
        if opening.loaded is None:
            if self._loaded is None:
                raise opening.error or Unfit("engine-unusable", "the engine could not be opened", "Deploy the model again")
            self._failed_target = self._relative(opening.folder)
            return
        old, self._loaded = self._loaded, opening.loaded
        self._target, self._failed_target = self._relative(opening.folder), ""
        if old is not None:
            old.runner.close()

    def _relative(self, folder: Path) -> str:
        return str(folder.relative_to(self._link.parent))

    def _read_link(self) -> str:
        try:
            return os.readlink(self._link)  # noqa: PTH115 - called before every inference: no Path objects
        except OSError as error:
            if self._loaded is not None:
                return self._target
            name = self._link.parent.name
            raise Unfit("model-absent", f"no engine of {name!r} is active: {error.strerror}", "Deploy it; edgewright agent status") from error

    @property
    def _now(self) -> _Loaded:
        if self._loaded is None or self._is_closed:
            raise Unfit("model-closed", "the runner was closed", "Open the model again")
        return self._loaded

    def close(self) -> None:
        if self._opening is not None:
            self._opening.wait()
            if self._opening.loaded is not None:
                self._opening.loaded.runner.close()
            self._opening = None
        if self._loaded is not None and not self._is_closed:
            self._loaded.runner.close()
        self._is_closed = True

    def __enter__(self) -> ModelRunner:  # noqa: PYI034 - Self is not in Python 3.10's typing
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Loaded:
    manifest: Manifest
    runner: Runner


class _Opening:
    """An engine that is being opened on a thread of its own."""

    def __init__(self, folder: Path, trusted: Trusted) -> None:
        self.folder = folder
        self.loaded: _Loaded | None = None
        self.error: EdgewrightError | OSError | None = None
        self._trusted = trusted
        self._thread = threading.Thread(target=self._open, name="edgewright-open", daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> None:
        self._thread.join()

    def _open(self) -> None:
        try:
            self.loaded = _Loaded(*open_folder(self.folder, self._trusted))
        except (EdgewrightError, OSError) as error:
            self.error = error


class ModelBound:
    """Buffers that follow the model: after a deployment, `run` moves to the new engine and carries what `inputs` holds over.

    `inputs` and `outputs` are other arrays then: take them from here for each run instead of keeping them.
    """

    def __init__(self, model: ModelRunner, shapes: Shapes) -> None:
        self._model = model
        self._shapes = shapes
        self._runner = model.follow()
        self._bound: Bound = self._runner.bind(shapes)

    @property
    def inputs(self) -> Tensors:
        return self._bound.inputs

    @property
    def outputs(self) -> Tensors:
        return self._bound.outputs

    def run(self) -> None:
        runner = self._model.follow()
        if runner is not self._runner:
            fresh = runner.bind(self._shapes)
            for name, value in self._bound.inputs.items():
                if name in fresh.inputs and fresh.inputs[name].shape == value.shape:
                    fresh.inputs[name][...] = value
            self._runner, self._bound = runner, fresh
        self._bound.run()


def open(name: str, state: Path | str | None = None) -> ModelRunner:  # noqa: A001 - the application's contract is called open
    """A runner on the current engine of the model `name`.

    Args:
        name: The model's name, as it was deployed.
        state: The agent's state folder; default: ``$EDGEWRIGHT_STATE``, or ``/var/lib/edgewright``.

    Raises:
        Unfit: ``model-absent`` when nothing is active; ``engine-untrusted``, ``engine-foreign`` or ``engine-unusable`` when what is active
            must not or cannot be opened here.
    """
    root = Path(state or os.environ.get(STATE_VARIABLE) or DEFAULT_STATE)
    return ModelRunner(root / "models" / name / CURRENT, trusted_keys(root))
