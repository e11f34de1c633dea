"""Errors as HTTP tells them: a status, and a body of RFC 9457 (``application/problem+json``) with the same codes as everywhere."""

from __future__ import annotations

import logging
import os

import msgspec

from ...core.errors import EdgewrightError, Family, Reason
from .asked import Answer, Asked

log = logging.getLogger(__name__)

_STATUS = {
    "unauthenticated": 401,
    "forbidden": 403,
    "form-foreign": 403,
    "not-found": 404,
    "method-not-allowed": 405,
    "rollout-state": 409,
    "rollout-under-way": 409,
    "nothing-to-retry": 409,
    "body-too-large": 413,
    "too-many-attempts": 429,
}
_STATUS_OF_FAMILY: dict[Family, int] = {"rejected": 400, "unfit": 503, "faulty": 500}
_TITLES = {
    400: "The request was refused",
    401: "Nobody is logged in",
    403: "This is not allowed",
    404: "There is no such thing",
    405: "This cannot be done here",
    409: "It is in another state",
    413: "The request is too long",
    429: "Too many attempts",
    500: "This program failed",
    503: "This machine cannot do it now",
}
CONTENT_TYPE = "application/problem+json"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no answer. `code` is stable and the same as on the command line; `next` says what to do."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    family: Family
    next: str


def reason_of(error: Exception) -> Reason:
    """The reason of any error; what nobody foresaw is told in the log alone."""
    if isinstance(error, EdgewrightError):
        return error.reason
    log.error("A request failed", exc_info=error if os.environ.get("EDGEWRIGHT_TRACEBACK") else None)
    log.error("%s: %s", type(error).__name__, error)
    return Reason("internal-error", "this program has failed", "See its log, and report it", "faulty")


def status_of(reason: Reason) -> int:
    if reason.code in _STATUS:
        return _STATUS[reason.code]
    return 404 if reason.code.endswith("-unknown") else _STATUS_OF_FAMILY[reason.family]


def title_of(status: int) -> str:
    return _TITLES[status]


def problem_of(reason: Reason) -> Problem:
    status = status_of(reason)
    return Problem(
        type=f"urn:edgewright:error:{reason.code}",
        title=_TITLES[status],
        status=status,
        detail=reason.message,
        code=reason.code,
        family=reason.family,
        next=reason.next,
    )


def refuse(_asked: Asked, error: Exception) -> Answer:
    """The answer of the REST interface to a request that failed."""
    problem = problem_of(reason_of(error))
    headers = {"www-authenticate": "Bearer"} if problem.status == 401 else {}
    return Answer(problem.status, msgspec.json.encode(problem), CONTENT_TYPE, headers)
