"""Plug-ins: one module in a folder is one plug-in; nothing else lists them; only the requested one is imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from edgewright.core.errors import Rejected
from edgewright.core.plugins import load_plugin, plugin_names

PACKAGE = "plugins_under_test"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    package = tmp_path / PACKAGE
    package.mkdir()
    for name in ("__init__", "beta", "alpha", "_private"):
        (package / f"{name}.py").write_text("")
    (package / "broken.py").write_text("raise RuntimeError('imported')\n")
    (package / "notes.txt").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module(PACKAGE)
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def test_the_modules_of_a_folder_are_its_plugins(folder: ModuleType) -> None:
    assert plugin_names(folder) == ("alpha", "beta", "broken")
    assert f"{PACKAGE}.alpha" not in sys.modules


def test_only_the_requested_plugin_is_imported(folder: ModuleType) -> None:
    plugin = load_plugin(folder, "beta")

    assert plugin.__name__ == f"{PACKAGE}.beta"
    assert f"{PACKAGE}.alpha" not in sys.modules


@pytest.mark.parametrize("name", ["gamma", "_private", "", "alpha.beta", "../alpha", "__init__"])
def test_an_unknown_plugin_is_refused_and_the_known_ones_are_named(folder: ModuleType, name: str) -> None:
    with pytest.raises(Rejected) as caught:
        load_plugin(folder, name)

    assert caught.value.code == "unknown-plugin"
    assert caught.value.next_step == "Use one of: alpha, beta, broken"
