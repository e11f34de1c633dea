"""Runs the operations of the REST interface: whoever asks is known and may, what is asked has its type, and what comes back is JSON."""

from __future__ import annotations

import re
from typing import Any, get_args, get_origin

import msgspec
from starlette.routing import Route

from ...core.errors import Rejected
from ..exports import EXPORT_KINDS, ExportFormat, ExportKind, export
from .asked import Answer, Asked, Run, endpoint
from .operation import Ask, Call, Nothing, Operation
from .operations import OPERATIONS
from .problems import refuse
from .site import Site

PREFIX = "/api/v1"
HINT = f"{PREFIX}/openapi.json describes what is understood"
_CONTENT_TYPES: dict[ExportFormat, str] = {"csv": "text/csv; charset=utf-8", "json": "application/x-ndjson"}


def api_routes(site: Site) -> list[Route]:
    """Every operation, and the exports."""
    routes = [
        Route(PREFIX + operation.path, endpoint(_runner(site, operation), refuse), methods=[operation.method], name=operation.name)
        for operation in OPERATIONS
    ]
    exporting = endpoint(lambda asked: _export(site, asked), refuse)
    return [*routes, Route(f"{PREFIX}/export/{{kind}}", exporting, methods=["GET"], name="export")]


def _runner(site: Site, operation: Operation) -> Run:
    def run(asked: Asked) -> Answer:
        caller = site.access.of_program(asked, site.clock())
        caller.must(operation.role)
        call = Call(site, caller.actor, site.clock(), ask_of(operation.ask, asked), _body_of(operation.body, asked))
        answer = operation.run(call)
        return Answer(body=msgspec.json.encode(answer))

    return run


def ask_of(kind: type[Ask], asked: Asked) -> Ask:
    """The parameters of path and query as `kind` has them.

    Raises:
        Rejected: ``parameters-malformed``.
    """
    many = {field.name for field in msgspec.structs.fields(kind) if get_origin(field.type) is tuple}
    fields: dict[str, Any] = {name: tuple(value for key, value in asked.query if key == name) for name in many}
    for key, value in asked.query:
        if key in asked.parameters or (key in fields and key not in many):
            raise Rejected("parameters-malformed", f"the parameter {key!r} is given twice", HINT)
        fields.setdefault(key, value)
    try:
        return msgspec.convert({**fields, **asked.parameters}, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Rejected("parameters-malformed", f"the parameters do not fit: {error}", HINT) from error


def _body_of(kind: type[msgspec.Struct], asked: Asked) -> msgspec.Struct:
    """Raises:
    Rejected: ``body-malformed``.
    """
    if not asked.body and not any(field.required for field in msgspec.structs.fields(kind)):
        return kind()
    if kind is not Nothing and not re.match(r"application/json\b", asked.headers.get("content-type", "")):
        raise Rejected("body-malformed", "the body is not declared as JSON", "Send Content-Type: application/json")
    try:
        return msgspec.json.decode(asked.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected("body-malformed", f"the body does not fit: {error}", HINT) from error


def _export(site: Site, asked: Asked) -> Answer:
    """Whole tables, piece by piece."""
    site.access.of_program(asked, site.clock()).must("viewer")
    kind, form = asked.parameters["kind"], asked.first("format", "csv")
    if kind not in EXPORT_KINDS or form not in get_args(ExportFormat):
        raise Rejected("export-unknown", f"there is no export {kind} as {form}", "Use devices, measurements or audit, and format=csv or json")
    exact_kind: ExportKind = kind
    exact_form: ExportFormat = form  # type: ignore[assignment] # looked at above
    name = f"{site.fleet}-{kind}.{'csv' if form == 'csv' else 'jsonl'}"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Answer(content_type=_CONTENT_TYPES[exact_form], headers=headers, pieces=export(site.database, exact_kind, exact_form))
