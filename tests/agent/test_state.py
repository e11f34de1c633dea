"""The state folder is one agent's at a time."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from edgewright.agent.state import lock_state
from edgewright.core.errors import Unfit


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewright.agent.state.WAIT_S", 0.0)


@pytest.mark.usefixtures("impatient")
def test_a_second_agent_is_kept_out_until_the_first_has_gone(tmp_path: Path) -> None:
    first = lock_state(tmp_path / "state")
    with pytest.raises(Unfit) as caught:
        lock_state(tmp_path / "state")
    assert caught.value.code == "state-locked"
    os.close(first)
    os.close(lock_state(tmp_path / "state"))


def test_a_lock_that_a_killed_agent_s_child_still_shares_is_waited_for(tmp_path: Path) -> None:
    shared = os.dup(first := lock_state(tmp_path))
    os.close(first)
    release = threading.Timer(0.1, os.close, [shared])
    release.start()
    os.close(lock_state(tmp_path))
    release.join()


@pytest.mark.usefixtures("impatient")
def test_what_a_crash_left_is_removed_but_not_from_a_running_agent(tmp_path: Path) -> None:
    leftover = tmp_path / ".journal.json.1.tmp"
    first = lock_state(tmp_path)
    leftover.write_bytes(b"being written")
    with pytest.raises(Unfit):
        lock_state(tmp_path)
    assert leftover.exists()
    os.close(first)
    os.close(lock_state(tmp_path))

    assert not leftover.exists()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unfit) as caught:
        lock_state(tmp_path / "file" / "state")

    assert caught.value.code == "state-unusable"
