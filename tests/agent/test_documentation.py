"""The generated pages are those of this very code."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from edgewright.agent.config import AgentFile, ModelSection
from edgewright.agent.deployment import diagram
from edgewright.agent.documentation import config_page, pages, state_machine_page


@pytest.mark.parametrize("name", sorted(pages()))
def test_the_page_in_the_documentation_is_up_to_date(name: str, project_root: Path) -> None:
    page = (project_root / "docs" / name).read_text("utf-8")

    assert pages()[name] == page, "write it anew: python -m edgewright.agent.documentation docs"


def test_every_key_of_the_configuration_is_described() -> None:
    page, keys = config_page(), []
    for field in msgspec.structs.fields(AgentFile):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            keys += [f"{field.name}.{inner.name}" for inner in msgspec.structs.fields(field.type)]
        elif field.name != "models":
            keys.append(field.name)
    keys += [f"models.NAME.{inner.name}" for inner in msgspec.structs.fields(ModelSection)]

    assert len(keys) > 30
    assert [key for key in keys if f"| `{key}` |" not in page] == []


def test_the_state_machine_s_page_shows_the_diagram() -> None:
    assert f"```mermaid\n{diagram()}\n```\n" in state_machine_page()
