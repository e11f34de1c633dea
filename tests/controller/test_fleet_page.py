"""The pages on fleets say what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from edgewright.cli.main import program
from edgewright.controller.rollout import diagram

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8")
DASHBOARD = (ROOT / "docs" / "dashboard.md").read_text(encoding="utf-8")
THREATS = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")


def options_of(words: list[str]) -> set[str]:
    """Every option of a command, as it is written."""
    command = program
    for word in words:
        command = command.get_command(None, word)  # type: ignore[attr-defined, arg-type] # a group
        assert command is not None, words
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


def test_the_diagram_is_the_tables():
    assert diagram() in PAGE


@pytest.mark.parametrize("line", [line for line in (PAGE + DASHBOARD).replace("\\\n", " ").splitlines() if line.startswith("edgewright ")])
def test_every_command_of_the_page_exists_with_its_options(line):
    words = line.partition("#")[0].split()[1:]
    verbs = words[:3] if words[1] in {"keys", "tokens"} else words[:2]
    for verb in verbs[-1].split("|"):
        found = options_of([*verbs[:-1], verb])
        for option in re.findall(r"--[a-z-]+", line.partition("#")[0]):
            assert option in found, (verb, option)


def test_every_threat_has_its_tests():
    rows = [line.split("|") for line in THREATS.splitlines() if re.match(r"\| \d+ \|", line)]
    proofs = [re.findall(r"`([a-z_/]+\.py)`", row[-2]) for row in rows]

    assert [int(row[1]) for row in rows] == list(range(1, len(rows) + 1))
    assert all(proofs)
    assert [path for found in proofs for path in found if not (ROOT / "tests" / path).is_file()] == []
