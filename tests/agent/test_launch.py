from __future__ import annotations

import os
import sys

import pytest
from edgewright.agent.launch import LAUNCHED_VARIABLE, LINK, main


@pytest.fixture
def config(tmp_path, monkeypatch):
    """With a key that only a newer version knows."""
    monkeypatch.setenv(LAUNCHED_VARIABLE, "")
    path = tmp_path / "agent.toml"
    path.write_text('a_newer_key = 1\n[paths]\nstate = "state"\n', encoding="utf-8")
    return path


def launched(config):
    became = []
    assert main(["--config", str(config), "edgewright.agent", "--config", "x"], lambda path, words: became.append((path, *words))) == 0
    assert os.environ[LAUNCHED_VARIABLE] == "1"
    ((path, *words),) = became
    assert path == words[0]
    return words


def test_without_a_version_the_installation_runs_itself(config):
    assert launched(config) == [sys.executable, "-m", "edgewright.agent", "--config", "x"]


def test_the_version_that_the_link_leads_to_runs(config, tmp_path):
    folder = tmp_path / "state" / LINK.parent / "engines" / "v1-1"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / "state" / LINK).symlink_to("engines/v1-1")

    assert launched(config)[0] == str(folder / "bin" / "python")


def test_a_link_that_leads_nowhere_is_no_version(config, tmp_path):
    (tmp_path / "state" / LINK).parent.mkdir(parents=True)
    (tmp_path / "state" / LINK).symlink_to("engines/v1-1")

    assert launched(config)[0] == sys.executable


def test_a_configuration_that_cannot_be_read_says_so(tmp_path, capsys):
    assert main(["--config", str(tmp_path / "none.toml"), "x"], lambda *_: None) == 1
    assert "config-unreadable" in capsys.readouterr().err
