"""A request as the rest of `web` sees it, and its answer: values, so that everything behind them is plain functions. The one place that awaits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ...core.errors import EdgewrightError, Rejected

MAX_BODY_BYTES = 64 << 10
MAX_FIELDS = 200
NOWHERE = "unknown"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `client` is the address that it came from; `parameters` are those of the path."""

    method: str
    path: str
    parameters: Mapping[str, str]
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    body: bytes
    client: str
    is_secure: bool

    def first(self, name: str, default: str = "") -> str:
        """The first value of a field of the query."""
        return next((value for key, value in self.query if key == name), default)

    def form(self) -> dict[str, str]:
        """The fields of an HTML form; of a repeated one, the last.

        Raises:
            Rejected: ``form-malformed``.
        """
        try:
            return dict(parse_qsl(self.body.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_FIELDS))
        except ValueError as error:  # UnicodeDecodeError is one
            raise Rejected("form-malformed", "the form cannot be read", "Load the page again") from error


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back. `pieces` are sent one by one where a whole body would be large."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: Iterator[str] | None = None


Run = Callable[[Asked], Answer]


def endpoint(run: Run, refuse: Callable[[Asked, Exception], Answer]) -> Callable[[Request], Awaitable[Response]]:
    """`run` as Starlette calls it, on a thread of its pool. What it raises becomes the answer that `refuse` makes."""

    def answered(asked: Asked) -> Answer:
        try:
            return run(asked)
        except Exception as error:
            return refuse(asked, error)

    async def called(request: Request) -> Response:
        asked = asked_of(request, b"")
        try:
            asked = asked_of(request, await _body(request))
        except EdgewrightError as error:
            return response_of(refuse(asked, error))
        return response_of(await run_in_threadpool(answered, asked))

    return called


async def _body(request: Request) -> bytes:
    """Raises:
    Rejected: ``body-too-large``.
    """
    found = bytearray()
    async for piece in request.stream():
        found += piece
        if len(found) > MAX_BODY_BYTES:
            raise Rejected("body-too-large", f"the request's body is longer than {MAX_BODY_BYTES} bytes", "Send less at once")
    return bytes(found)


def asked_of(request: Request, body: bytes) -> Asked:
    """The request as a value."""
    return Asked(
        method=request.method,
        path=request.url.path,
        parameters={name: str(value) for name, value in request.path_params.items()},
        query=tuple(request.query_params.multi_items()),
        headers=request.headers,
        cookies=request.cookies,
        body=body,
        client=request.client.host if request.client else NOWHERE,
        is_secure=request.url.scheme == "https",
    )


def response_of(answer: Answer) -> Response:
    """The answer as Starlette sends it."""
    if answer.pieces is not None:
        return StreamingResponse(answer.pieces, status_code=answer.status, media_type=answer.content_type, headers=dict(answer.headers))
    return Response(answer.body, status_code=answer.status, media_type=answer.content_type, headers=dict(answer.headers))
