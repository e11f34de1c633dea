"""What must not leave the device, and how it is taken out of a text. Reads the secrets; keeps them nowhere but in memory.

Two nets, one behind the other: the values themselves, read from the files that the configuration names, however they are written (as they are, in
JSON, in a URL, in base64, in hexadecimal); and the shapes that secrets have in logs, for those of other programs.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from ..engines.provenance import KEY_NAME
from .config import AgentConfig

LEFT_OUT = "[left out]"
MIN_SECRET = 4
"""A shorter one stands in any text by chance."""
MIN_LINE = 16
MAX_SECRET_BYTES = 1 << 16

_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), LEFT_OUT),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {LEFT_OUT}"),
    (
        re.compile(
            r"(?i)(\b[\w.-]*(?:password|passwd|secret|token|api[_-]?key|credential)s?\b[\"']?\s*[:=]\s*)(\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s,;&]+)"
        ),
        rf"\1{LEFT_OUT}",
    ),
    (re.compile(r"(?i)((?:--?)[\w-]*(?:password|passwd|secret|token|api-?key)\s+)(\"[^\"]*\"|'[^']*'|[^\s,;]+)"), rf"\1{LEFT_OUT}"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@\"']+@"), rf"\1{LEFT_OUT}@"),
    (re.compile(r"(\b(?:https?|s3)://[^\s?\"'<>]+)\?[^\s\"'<>]*"), rf"\1?{LEFT_OUT}"),
)


class Scrubber:
    """Takes `secrets`, and what looks like one, out of texts."""

    def __init__(self, secrets: Iterable[bytes] = ()) -> None:
        found = {form for secret in secrets for form in _forms(secret) if len(form) >= MIN_SECRET}
        # The longest first: one may be a part of another.
        self._values = sorted(found, key=lambda form: (-len(form), form))

    def __call__(self, text: str) -> str:
        for value in self._values:
            text = text.replace(value, LEFT_OUT)
        for shape, replacement in _SHAPES:
            text = shape.sub(replacement, text)
        return text


def secrets_of(config: AgentConfig) -> list[bytes]:
    """The contents of the device's secret files. One that this user may not read cannot be in what this user collects from files; a log that
    quotes it is left to the shapes.
    """
    broker = config.broker
    paths = [config.folder / name for name in (broker.password_file, broker.tls_key) if name is not None]
    found = []
    for path in (*paths, config.state / KEY_NAME):
        try:
            with path.open("rb") as file:
                found.append(file.read(MAX_SECRET_BYTES))
        except OSError:
            continue
    return found


def _forms(secret: bytes) -> Iterator[str]:
    """How `secret` may stand in a text: whole, and, of a file of several lines, each long one."""
    yield base64.b64encode(secret).decode()
    yield secret.hex()
    text = secret.decode("utf-8", "replace")
    lines = text.strip().splitlines()
    is_pem = len(lines) > 1
    for piece in [text.strip(), *(line.strip() for line in lines if is_pem and len(line.strip()) >= MIN_LINE and not line.startswith("-----"))]:
        yield piece
        yield json.dumps(piece)[1:-1]
        yield json.dumps(piece, ensure_ascii=False)[1:-1]
        yield quote(piece, safe="")
        yield base64.b64encode(piece.encode("utf-8", "replace")).decode()
