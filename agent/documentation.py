"""Writes the pages of ``docs/`` that are generated from this package: ``python -m edgewright.agent.documentation DOCS``."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

import msgspec

from .config import AgentFile, ModelSection
from .deployment import diagram

WIDTH = 150
RULES = (
    "Every transition is on disk before it is told, and every effect may be repeated: after a crash the deployment goes on where it was.",
    "`reject` is the sender's fault and is never retried. `fail` is this device's or the program's fault; its reason says what may help.",
    "From ACTIVATING on the device has changed: whatever goes wrong, and whoever cancels, it is rolled back first and ends as FAILED.",
    "A deadline counts the time in all open states, on the monotonic clock, also over restarts.",
    "A roll-back by the owner is no deployment: the previous engine becomes active and is held. Until its release only a removal applies.",
    "`retry` builds what succeeded once more: for a new runtime (another JetPack or driver), or when its engine is not active any more.",
)
GENERATED = "<!-- Generated: python -m edgewright.agent.documentation docs -->"


def pages() -> dict[str, str]:
    """Each generated page by its file's name."""
    return {"agent-config.md": config_page(), "state-machine.md": state_machine_page()}


def config_page() -> str:
    """Every key of ``agent.toml`` with its meaning, range and default."""
    lines = [
        "# agent.toml",
        "",
        GENERATED,
        "",
        *_wrapped(
            "The agent's one configuration file. `edgewright fleet enroll` writes it; the agent reads it once, at its start. Relative paths are "
            "relative to the file. An unknown key is an error that names the nearest known one. Only a key without a default has to be there."
        ),
        "",
        *_table("At the top", "", AgentFile, only_values=True),
    ]
    for field in msgspec.structs.fields(AgentFile):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            lines += _table(f"[{field.name}]", f"{field.name}.", field.type)
    lines += _table("[models.NAME]", "models.NAME.", ModelSection)
    return "\n".join(lines).rstrip() + "\n"


def _table(title: str, prefix: str, section: type[msgspec.Struct], *, only_values: bool = False) -> list[str]:
    schema = msgspec.json.schema(section)["$defs"][section.__name__]
    words = " ".join(schema["description"].split())
    lines = [f"## `{title}`" if prefix else f"## {title}", "", *_wrapped(words), "", "| Key | Default | Range | Meaning |", "|---|---|---|---|"]
    for key, entry in schema["properties"].items():
        if only_values and "description" not in entry:
            continue
        needed = key in schema.get("required", ())
        lines.append(f"| `{prefix}{key}` | {'–' if needed else _default(entry)} | {_range(entry)} | {entry['description']} |")
    return [*lines, ""]


def _default(entry: dict[str, Any]) -> str:
    default = entry.get("default")
    return "absent" if default is None else f"`{msgspec.json.encode(default).decode()}`"


def _range(entry: dict[str, Any]) -> str:
    """The bounds of a number; a text has none that needs saying."""
    numbers = next((kind for kind in entry.get("anyOf", [entry]) if "minimum" in kind), None)
    return f"{numbers['minimum']:.15g} … {numbers['maximum']:.15g}" if numbers is not None else ""


def state_machine_page() -> str:
    """The diagram, and what it does not show."""
    lines = ["# The states of a deployment", "", GENERATED, ""]
    for rule in RULES:
        lines += _wrapped(rule, first="- ", rest="  ")
    return "\n".join([*lines, "", "```mermaid", diagram(), "```"]) + "\n"


def _wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False)


def main() -> None:
    for name, text in pages().items():
        (Path(sys.argv[1]) / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
