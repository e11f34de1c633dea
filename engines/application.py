"""The application's side: ``edgewright.open("NAME")`` follows the model's current engine, also across a deployment.

The contract is a folder: ``STATE/models/NAME/current`` is a symbolic link to a folder that holds the engine, its card and ``manifest.json``.
The agent switches the link in one rename. A runner from here looks at the link before each inference (one ``readlink``, about a
microsecond) and opens the new engine before it lets go of the old one, so that no call fails or waits for a gap.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..core.errors import EdgewrightError, Unfit
from ..core.tensors import TensorSpec
from .base import Array, BuildOptions, Runner, Tensors
from .discovery import load_backend
from .manifest import Manifest, verify_manifest

STATE_VARIABLE = "EDGEWRIGHT_STATE"
DEFAULT_STATE = Path("/var/lib/edgewright")
CURRENT = "current"


class ModelRunner:
    """The current engine of one model. A context manager; not for several threads at once."""

    def __init__(self, link: Path) -> None:
        self._link = link
        self._target = ""
        self._failed_target = ""
        self._runner: Runner | None = None
        self._manifest: Manifest | None = None
        self.reload()

    @property
    def manifest(self) -> Manifest:
        """What is loaded now."""
        assert self._manifest is not None
        return self._manifest

    @property
    def folder(self) -> Path:
        """Where what is loaded now lies: the engine, its card, its manifest."""
        return self._link.parent / self._target

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._opened.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._opened.outputs

    @property
    def provider(self) -> str:
        return self._opened.provider

    def infer(self, feeds: Tensors) -> dict[str, Array]:
        """Run once on the current engine; reloads first when the model has changed.

        A new engine that cannot be opened is left alone, and the old one answers: the agent's probation decides about it.
        """
        opened = self._opened
        if self._read_link() != self._target:
            self.reload()
            opened = self._opened
        return opened.infer(feeds)

    def reload(self) -> bool:
        """Open what `current` points to now; returns whether it changed.

        Raises:
            Unfit: ``model-absent`` or ``engine-unusable``, when nothing is loaded yet.
        """
        target = self._read_link()
        if target in {self._target, self._failed_target} and self._runner is not None:
            return False
        try:
            manifest, runner = _open_folder(self._link.parent / target)
        except (EdgewrightError, OSError):
            if self._runner is None:
                raise
            self._failed_target = target
            return False
        old, self._runner = self._runner, runner
        self._manifest, self._target, self._failed_target = manifest, target, ""
        if old is not None:
            old.close()
        return True

    def _read_link(self) -> str:
        try:
            return os.readlink(self._link)  # noqa: PTH115 - called before every inference: no Path objects
        except OSError as error:
            if self._runner is not None:
                return self._target
            name = self._link.parent.name
            raise Unfit("model-absent", f"no engine of {name!r} is active: {error.strerror}", "Deploy it; edgewright agent status") from error

    @property
    def _opened(self) -> Runner:
        if self._runner is None:
            raise Unfit("model-closed", "the runner was closed", "Open the model again")
        return self._runner

    def close(self) -> None:
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def __enter__(self) -> ModelRunner:  # noqa: PYI034 - Self is not in Python 3.10's typing
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open(name: str, state: Path | str | None = None) -> ModelRunner:  # noqa: A001 - the application's contract is called open
    """A runner on the current engine of the model `name`.

    Args:
        name: The model's name, as it was deployed.
        state: The agent's state folder; default: ``$EDGEWRIGHT_STATE``, or ``/var/lib/edgewright``.

    Raises:
        Unfit: ``model-absent`` when nothing is active, ``engine-unusable`` when it cannot be opened here.
    """
    root = Path(state or os.environ.get(STATE_VARIABLE) or DEFAULT_STATE)
    return ModelRunner(root / "models" / name / CURRENT)


def _open_folder(folder: Path) -> tuple[Manifest, Runner]:
    manifest = verify_manifest(folder)
    return manifest, load_backend(manifest.backend).open(folder / manifest.engine, BuildOptions(threads=manifest.threads))
