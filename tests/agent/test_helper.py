"""The root helper against whoever has got hold of its socket: two verbs, nothing else, and nothing of a line becomes a command."""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

import pytest
from edgewright.agent import helper
from edgewright.agent.helper import HelperFile, command_for, read_helper_file, serve
from edgewright.core.errors import Rejected, Unfit
from hypothesis import given
from hypothesis import strategies as st

ME = os.getuid()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    path = folder / "helper.toml"
    mark = tmp_path / "mark"
    program = f"open({str(mark)!r}, 'a').write('x'); import os; assert 'SECRET' not in os.environ"
    path.write_text(f'[models.surface]\nactivate = ["{sys.executable}", "-c", "{program}"]\n[models.broken]\nactivate = ["/bin/false"]\n', "utf-8")
    path.write_text(path.read_text() + '[models.absent]\nactivate = ["/nowhere"]\n[nvpmodel]\nallow = [0, 8]\n', "utf-8")
    path.chmod(0o644)
    return path


def say(line: bytes, config: Path) -> str:
    """What the helper answers to one line."""
    near, far = socket.socketpair()
    with near, far:
        near.sendall(line)
        near.shutdown(socket.SHUT_WR)
        serve(far, config, ME)
        return near.recv(2000).decode()


def test_what_the_file_names_is_done_with_a_clean_environment(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")

    assert say(b"activate surface\n", config) == "ok\n"
    assert (tmp_path / "mark").read_text() == "x"


@pytest.mark.parametrize("name", ["broken", "absent"])
def test_a_command_that_fails_is_said(config: Path, name: str) -> None:
    assert say(f"activate {name}\n".encode(), config).startswith("refused ")


def test_a_power_mode_that_is_allowed_becomes_one_fixed_command() -> None:
    file = HelperFile(nvpmodel=helper._Modes(allow=(0, 8)))

    assert command_for(b"nvpmodel 8\n", file) == ["/usr/sbin/nvpmodel", "-m", "8"]


@pytest.mark.parametrize(
    "line",
    [
        b"\n", b"activate\n", b"activate \n", b"activate other\n", b"activate ../surface\n", b"activate surface; reboot\n",
        b"activate surface extra\n",
        b"ACTIVATE surface\n", b"nvpmodel 1\n", b"nvpmodel -1\n", b"nvpmodel 8 -f\n", b"nvpmodel 008\n", b"nvpmodel 0x8\n",
        b"nvpmodel \xd9\xa8\n", b"reboot now\n",
        b"activate surface\nnvpmodel 8\n", b"activate surface", b"x" * 300, b"", b"\xff\xfe\n", b"activate surface\0\n", b"--config /tmp/x\n",
    ],
)  # fmt: skip
def test_whatever_else_is_said_is_refused(config: Path, tmp_path: Path, line: bytes) -> None:
    assert say(line, config).startswith("refused ")
    assert not (tmp_path / "mark").exists()


@given(st.binary(max_size=80))
def test_no_line_becomes_a_command_of_its_own(line: bytes) -> None:
    file = HelperFile(models={"surface": helper._Model(activate=("/bin/true",))}, nvpmodel=helper._Modes(allow=(3,)))
    try:
        command = command_for(line, file)
    except Rejected:
        return
    assert command in (["/bin/true"], ["/usr/sbin/nvpmodel", "-m", "3"])


@pytest.mark.parametrize("mode", [0o666, 0o664])
def test_a_file_that_others_can_change_is_not_believed(config: Path, mode: int) -> None:
    config.chmod(mode)

    assert "can be changed by others" in say(b"activate surface\n", config)


def test_nor_is_one_in_a_folder_that_others_can_change_or_of_somebody_else(config: Path) -> None:
    config.parent.chmod(0o777)
    assert "can be changed by others" in say(b"activate surface\n", config)
    config.parent.chmod(0o755)
    with pytest.raises(Rejected) as caught:
        read_helper_file(config, owner=ME + 1)

    assert caught.value.code == "config-unsafe"


@pytest.mark.parametrize(
    "text",
    [
        "[models.surface]\n",
        "[models.surface]\nactivate = []\n",
        "[models.surface]\nactivate = 'sh -c x'\n",
        "[nvpmodel]\nallow = ['a']\n",
        "key = 1\n",
    ],
)
def test_a_file_that_does_not_fit_is_refused(config: Path, text: str) -> None:
    config.write_text(text)

    assert say(b"activate surface\n", config).startswith("refused ")


def test_who_says_nothing_is_left(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper, "CONNECT_S", 0.05)
    near, far = socket.socketpair()
    with near, far:
        assert serve(far, config, ME) is False


def test_asking_is_the_other_end(config: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                serve(connection, config, ME)

        thread = threading.Thread(target=answer)
        thread.start()
        assert helper.ask("activate", "surface", tmp_path / "s") == "ok"
        thread.join()


def test_a_helper_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unfit) as caught:
        helper.ask("activate", "surface", tmp_path / "nothing")

    assert caught.value.code == "helper-unreachable"
