"""Finds the plug-ins of a folder: one module is one plug-in, and its file name is its name on the wire and on the command line.

Nothing else lists them. Only the requested module is imported; a module whose name starts with an underscore is not a plug-in.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from .errors import Rejected


def plugin_names(package: ModuleType) -> tuple[str, ...]:
    """The plug-ins in the folder of `package`, sorted; imports none of them."""
    return tuple(sorted(info.name for info in pkgutil.iter_modules(package.__path__) if not info.name.startswith("_")))


def load_plugin(package: ModuleType, name: str) -> ModuleType:
    """Import the plug-in `name` of `package`.

    Raises:
        Rejected: ``unknown-plugin``; the message lists what exists.
    """
    names = plugin_names(package)
    if name not in names:
        kind = package.__name__.rpartition(".")[2]
        raise Rejected("unknown-plugin", f"there is no {name!r} among the {kind}", f"Use one of: {', '.join(names)}")
    return importlib.import_module(f"{package.__name__}.{name}")
