"""What docs/wire.md states in numbers, tables and rules is what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from edgewright.controller.access import CONTROLLER_USER, mosquitto_acl
from edgewright.controller.chunks import MAX_CHUNKS_PER_GET, MAX_GET_BYTES, STALE_S
from edgewright.controller.orders import COMMAND_LIFE_S, DESIRED_LIFE_S
from edgewright.core import anchor, approval, trust
from edgewright.core.wire import link
from edgewright.core.wire.frames import CHUNK_BYTES, HEADER, MAX_PAYLOAD_BYTES
from edgewright.core.wire.topics import CHANNELS, RETAINED, TO_DEVICE, client_id, qos_of, topic


@pytest.fixture(scope="module")
def page(project_root: Path) -> str:
    return (project_root / "docs" / "wire.md").read_text(encoding="utf-8")


def test_the_table_of_channels_is_right(page: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (\d) \| (yes|no) \|$", page, re.MULTILINE)

    assert rows == [
        (channel, "controller" if channel in TO_DEVICE else "device", str(qos_of(channel)), "yes" if channel in RETAINED else "no")
        for channel in CHANNELS
    ]


def test_topics_and_client_ids_are_spelled_right(page: str) -> None:
    assert f"`{topic('FLEET', 'DEVICE', 'CHANNEL')}`" in page  # type: ignore[arg-type]
    assert f"`{client_id('FLEET', 'DEVICE')}`" in page
    assert f"`{client_id('FLEET', CONTROLLER_USER)}`" in page
    assert topic("f", "d", "desired").count("/") == 4


def test_the_limits_are_right(page: str) -> None:
    for number in (MAX_PAYLOAD_BYTES, CHUNK_BYTES, MAX_GET_BYTES):
        assert f"{number:,} bytes" in page
    assert (MAX_CHUNKS_PER_GET, STALE_S, DESIRED_LIFE_S, COMMAND_LIFE_S) == (20, 10, 7 * 86400, 600)
    assert f"| {HEADER.size} | … | the chunk: {CHUNK_BYTES:,} bytes" in page


def test_the_rules_are_those_of_the_broker(page: str) -> None:
    assert f"```\n{mosquitto_acl('plant')}```" in page


def test_the_signed_bytes_are_right(page: str) -> None:
    assert trust.signed_bytes("desired", "{}") == b"edgewright-envelope-v1\x00desired\x00{}"
    assert '"edgewright-envelope-v1" 00  kind 00  signed' in page


def test_every_code_that_it_names_is_one_of_the_program(page: str) -> None:
    codes = set(re.findall(r"\(`([a-z]+(?:-[a-z]+)+)`\)", page))
    source = "".join(Path(module.__file__ or "").read_text(encoding="utf-8") for module in (trust, anchor, approval, link))
    source += Path(trust.__file__ or "").with_name("wire").joinpath("messages.py").read_text(encoding="utf-8")

    assert len(codes) == 8
    assert {code for code in codes if f'"{code}"' not in source} == set()


def test_every_link_leads_to_a_page(page: str, project_root: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page):
        assert (project_root / "docs" / target).is_file(), target
