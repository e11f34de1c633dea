"""The control socket, a real one: who asks gets one answer, whatever the others do; and it is nobody else's."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from edgewright.agent import control
from edgewright.agent.control import ControlRequest, ControlServer, ask_agent
from edgewright.core.errors import EdgewrightError, Faulty, Rejected, Unfit

WAIT_S = 20.0


class Loop:
    """The daemon's loop, which calls at once. `answer` is what the daemon would say."""

    def __init__(self) -> None:
        self.answer: Callable[[ControlRequest], object] = lambda request: {"verb": request.verb, "name": request.name}

    def post(self, call: Callable[[], None]) -> None:
        call()

    def ask(self, request: ControlRequest) -> object:
        return self.answer(request)


@pytest.fixture
def loop() -> Loop:
    return Loop()


@contextmanager
def serving(path: Path, loop: Loop) -> Iterator[ControlServer]:
    server = ControlServer(path, loop.post, loop.ask)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def path(tmp_path: Path, loop: Loop) -> Iterator[Path]:
    with serving(tmp_path / "run" / "agent.sock", loop):
        yield tmp_path / "run" / "agent.sock"


@contextmanager
def connected(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(WAIT_S)
        with control._address(path) as address:
            client.connect(address)
        yield client


def received(client: socket.socket) -> bytes:
    data = b""
    while piece := client.recv(65536):
        data += piece
    return data


def test_a_question_is_answered(path: Path) -> None:
    assert ask_agent(path, ControlRequest("explain", "m")) == {"verb": "explain", "name": "m"}
    assert ask_agent(path, ControlRequest("status")) == {"verb": "status", "name": ""}


def test_the_socket_is_for_its_owner_and_group(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o660


@pytest.mark.parametrize("error", [Rejected("a", "b", "c"), Unfit("d", "e", "f"), Faulty("g", "h", "i")])
def test_an_error_crosses_the_socket_as_what_it_is(path: Path, loop: Loop, error: EdgewrightError) -> None:
    def fail(_request: ControlRequest) -> object:
        raise error

    loop.answer = fail
    with pytest.raises(type(error)) as caught:
        ask_agent(path, ControlRequest("status"))

    assert caught.value.reason == error.reason


def test_a_fault_in_the_answer_is_said_and_the_next_one_is_answered(path: Path, loop: Loop) -> None:
    good = loop.answer

    def fail(_request: ControlRequest) -> object:
        raise ZeroDivisionError("oh")

    loop.answer = fail
    with pytest.raises(Faulty, match="oh"):
        ask_agent(path, ControlRequest("status"))
    loop.answer = good

    assert ask_agent(path, ControlRequest("jobs"))["verb"] == "jobs"


@pytest.mark.parametrize(
    "line",
    [b"\n", b"{}\n", b'{"verb": "reboot"}\n', b'{"verb": "status", "more": 1}\n', b"\xff\n", b"[" * 60_000 + b"\n", b'{"verb": "status"}{}\n'],
)
def test_what_is_no_request_is_refused_in_words(path: Path, line: bytes) -> None:
    with connected(path) as client:
        client.sendall(line)
        answer = json.loads(received(client))

    assert (answer["error"]["code"], answer["error"]["family"]) == ("request-malformed", "rejected")


def test_a_request_without_end_is_cut_off(path: Path) -> None:
    with connected(path) as client:
        client.sendall(b"x" * (control.MAX_LINE_BYTES + 1))

        assert b"request-malformed" in received(client)


def test_a_client_that_says_nothing_keeps_nobody_waiting_for_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "REQUEST_S", 0.2)
    with connected(path) as silent:
        assert ask_agent(path, ControlRequest("status"))["verb"] == "status"
        assert received(silent) == b""


def test_a_client_that_trickles_has_one_time_limit_for_all_of_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "REQUEST_S", 0.3)
    with connected(path) as slow:
        other = threading.Thread(target=lambda: answers.append(ask_agent(path, ControlRequest("status"))))
        answers: list[Any] = []
        other.start()
        while other.is_alive():
            try:
                slow.sendall(b" ")
            except OSError:
                break
            other.join(0.05)
        other.join(WAIT_S)

    assert [answer["verb"] for answer in answers] == ["status"]


def test_a_client_that_goes_away_harms_nobody(path: Path) -> None:
    for _ in range(3):
        with connected(path) as client:
            client.sendall(b'{"verb": "status"}\n')

    assert ask_agent(path, ControlRequest("jobs"))["verb"] == "jobs"


def test_a_busy_agent_is_said_to_be_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "ANSWER_S", 0.1)
    server = ControlServer(tmp_path / "agent.sock", lambda _call: None, lambda _request: None)
    with pytest.raises(Unfit) as caught:
        ask_agent(tmp_path / "agent.sock", ControlRequest("status"))
    server.stop()

    assert caught.value.code == "agent-busy"


def test_a_folder_as_deep_as_you_like_holds_it(tmp_path: Path, loop: Loop) -> None:
    deep = tmp_path / ("a" * 60) / ("b" * 60) / "agent.sock"
    with serving(deep, loop):
        assert ask_agent(deep, ControlRequest("status"))["verb"] == "status"


def test_stopping_ends_its_thread_and_takes_the_socket_away(tmp_path: Path, loop: Loop) -> None:
    before = set(threading.enumerate())
    with serving(tmp_path / "agent.sock", loop):
        (thread,) = set(threading.enumerate()) - before
    thread.join(WAIT_S)

    assert (thread.is_alive(), list(tmp_path.iterdir())) == (False, [])
    with pytest.raises(Unfit) as caught:
        ask_agent(tmp_path / "agent.sock", ControlRequest("status"))
    assert caught.value.code == "agent-absent"


def test_what_a_dead_agent_left_is_replaced(tmp_path: Path, loop: Loop) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "agent.sock"))
    with serving(tmp_path / "agent.sock", loop):
        assert ask_agent(tmp_path / "agent.sock", ControlRequest("status"))["verb"] == "status"


def test_another_agent_s_socket_is_left_to_it(tmp_path: Path, loop: Loop) -> None:
    with serving(tmp_path / "agent.sock", loop):
        with pytest.raises(Unfit) as caught:
            ControlServer(tmp_path / "agent.sock", loop.post, loop.answer)

        assert (caught.value.code, "another agent" in caught.value.message) == ("socket-unusable", True)
        assert ask_agent(tmp_path / "agent.sock", ControlRequest("status"))["verb"] == "status"


def test_a_file_that_is_no_socket_is_not_deleted(tmp_path: Path, loop: Loop) -> None:
    (tmp_path / "precious").write_text("data")
    with pytest.raises(Unfit) as caught:
        ControlServer(tmp_path / "precious", loop.post, loop.answer)

    assert (caught.value.code, (tmp_path / "precious").read_text()) == ("socket-unusable", "data")


def test_an_agent_that_ends_before_it_answers_is_absent(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "agent.sock"))
        server.listen()

        def hang_up() -> None:
            server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(Unfit) as caught:
            ask_agent(tmp_path / "agent.sock", ControlRequest("status"))
        thread.join(WAIT_S)

    assert caught.value.code == "agent-absent"


def test_where_nobody_ever_listened_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unfit, match="No such file"):
        ask_agent(tmp_path / "absent" / "agent.sock", ControlRequest("status"))
