"""One operation of the REST interface as a value: its place, the role it needs, the types of what goes in and out. `api` runs, `openapi` tells it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import msgspec

from ..tokens import Role
from .site import Site

Method = Literal["GET", "POST", "PATCH", "DELETE"]


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of what stands in a path and a query. A field that the path names comes from there; a tuple is a field that may be repeated."""


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of what needs none."""


A = TypeVar("A", bound=Ask)
B = TypeVar("B", bound=msgspec.Struct)


@dataclass(frozen=True)
class Call(Generic[A, B]):
    """One use of an operation."""

    site: Site
    actor: str
    now_s: float
    ask: A
    body: B


@dataclass(frozen=True, slots=True)
class Operation:
    """`run` gets a call with an `ask` and a `body` of the types that stand here, and returns an `answer`."""

    name: str
    method: Method
    path: str
    tag: str
    role: Role
    summary: str
    ask: type[Ask]
    answer: type[msgspec.Struct]
    run: Callable[[Call[Any, Any]], msgspec.Struct]
    body: type[msgspec.Struct] = Nothing
