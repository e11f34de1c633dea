"""How much of the flash each deployment has cost. Models that are worked on at the same time share what cannot be told apart."""

from __future__ import annotations

from collections.abc import Callable

from .journal import DeploymentRecord


class Wear:
    """`written_bytes` counts what this process and its children have written so far; None where the kernel does not say."""

    def __init__(self, written_bytes: Callable[[], int | None]) -> None:
        self._written_bytes = written_bytes
        self._seen: dict[str, int] = {}

    def of(self, model: str, deployment: DeploymentRecord) -> int | None:
        """What was written since `deployment`, the model's, began: what its record says, and what came since the last look."""
        now = self._written_bytes()
        if now is None:
            return deployment.written_bytes
        before, self._seen[model] = self._seen.get(model, now), now
        return (deployment.written_bytes or 0) + now - before
