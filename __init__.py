"""Edgewright: deploys, compresses, calibrates, measures and gates neural networks on edge devices.

The application on the board needs one name from here: ``edgewright.open("NAME")`` returns a runner on the model's current engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engines.application import open  # noqa: A004 - the application's contract is called open

__version__ = "0.1.0"
__all__ = ["__version__", "open"]


def __getattr__(name: str) -> object:
    """Import the application's side on first use: the idle daemon imports this package too and must stay small."""
    if name == "open":
        from .engines.application import open as open_model

        return open_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
