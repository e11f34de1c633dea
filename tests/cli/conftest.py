"""Runs the program as a person does, in this process: fast, and with what it printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from edgewright.cli.main import run


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        return json.loads(self.out)

    @property
    def code(self) -> str:
        """The code of the error object, when the failure was told as it must be: one line, no traceback."""
        error = self.json["error"]
        assert set(error) == {"code", "message", "next"}
        assert error["message"]
        assert "Traceback" not in self.err
        assert len(self.err.strip().splitlines()) == 1
        assert f"[{error['code']}]" in self.err
        return str(error["code"])


@pytest.fixture
def edgewright(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def start(*arguments: object) -> Ran:
        capfd.readouterr()
        status = run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Ran(status, out, err)

    return start
