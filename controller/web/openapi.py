"""The OpenAPI 3.1 description of the REST interface, made from the operations themselves: ``python -m edgewright.controller.web.openapi docs``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from .api import PREFIX
from .operation import Nothing, Operation
from .operations import OPERATIONS
from .problems import CONTENT_TYPE, Problem

FILE_NAME = "openapi.json"

Schema = dict[str, Any]
_REFERENCE = "#/components/schemas/{name}"


def document() -> Schema:
    """The whole description."""
    kinds = [Problem, *(kind for operation in OPERATIONS for kind in (operation.answer, operation.body) if kind is not Nothing)]
    _, found = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    paths: dict[str, Schema] = {}
    for operation in OPERATIONS:
        paths.setdefault(PREFIX + operation.path, {})[operation.method.lower()] = _operation(operation)
    paths[f"{PREFIX}/export/{{kind}}"] = {"get": _export()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Edgewright's fleet",
            "version": "1",
            "description": "What the pages show and order, for programs. Errors are problems of RFC 9457 with the codes of the command line.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {name: _tidy(schema) for name, schema in sorted(found.items())},
            "responses": {"Problem": {"description": "Why not.", "content": {CONTENT_TYPE: {"schema": _reference(Problem)}}}},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "`edgewright fleet tokens create NAME --role viewer` makes one."}
            },
        },
    }


def _operation(operation: Operation) -> Schema:
    made: Schema = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": f"Needs the role `{operation.role}`.",
        "parameters": _parameters(operation),
        "responses": {
            "200": {"description": _words(operation.answer), "content": {"application/json": {"schema": _reference(operation.answer)}}},
            "default": {"$ref": "#/components/responses/Problem"},
        },
    }
    if operation.body is not Nothing:
        is_needed = any(field.required for field in msgspec.structs.fields(operation.body))
        made["requestBody"] = {"required": is_needed, "content": {"application/json": {"schema": _reference(operation.body)}}}
    return made


def _parameters(operation: Operation) -> list[Schema]:
    in_path = set(re.findall(r"{(\w+)}", operation.path))
    made = []
    for field in msgspec.structs.fields(operation.ask):
        schema = _tidy(msgspec.json.schema(field.type, ref_template=_REFERENCE))
        if field.default is not msgspec.NODEFAULT and field.default is not None and field.default != ():
            schema["default"] = field.default
        place = "path" if field.name in in_path else "query"
        made.append({"name": field.name, "in": place, "required": field.required, "schema": schema})
    return made


def _export() -> Schema:
    kinds = {"name": "kind", "in": "path", "required": True, "schema": {"enum": ["devices", "measurements", "audit"]}}
    form = {"name": "format", "in": "query", "required": False, "schema": {"enum": ["csv", "json"], "default": "csv"}}
    content = {"text/csv": {"schema": {"type": "string"}}, "application/x-ndjson": {"schema": {"type": "string"}}}
    return {
        "operationId": "export",
        "tags": ["fleet"],
        "summary": "Everything, as CSV or as lines of JSON",
        "description": "Needs the role `viewer`.",
        "parameters": [kinds, form],
        "responses": {"200": {"description": "The rows.", "content": content}, "default": {"$ref": "#/components/responses/Problem"}},
    }


def _reference(kind: type[msgspec.Struct]) -> Schema:
    return {"$ref": _REFERENCE.format(name=kind.__name__)}


def _words(kind: type) -> str:
    return " ".join((kind.__doc__ or kind.__name__).split("\n\n")[0].split())


def _tidy(node: Any) -> Any:
    """Docstrings as one line."""
    if isinstance(node, list):
        return [_tidy(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    made = {key: _tidy(value) for key, value in node.items()}
    if isinstance(made.get("description"), str):
        made["description"] = " ".join(made["description"].split())
    return made


def page() -> str:
    """The document as it stands in the documentation."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    (folder,) = sys.argv[1:]
    (Path(folder) / FILE_NAME).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
