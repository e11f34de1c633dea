from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from edgewright.controller.web import openapi

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_the_document_in_the_documentation_is_the_operations():
    assert (DOCS / openapi.FILE_NAME).read_text(encoding="utf-8") == openapi.page()


def test_the_document_is_valid_openapi():
    schemas = pytest.importorskip("openapi_spec_validator.schemas", reason="pip install 'edgewright[dev]' brings openapi-spec-validator")
    document = json.loads(openapi.page())
    jsonschema.Draft202012Validator(dict(schemas.schema_v31)).validate(document)
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]} | {"#/components/responses/Problem"}

    assert set(re.findall(r'"\$ref": "([^"]+)"', openapi.page())) <= known


def test_it_is_served_to_whoever_asks_as_it_stands_there(program):
    assert program(None).get("/api/v1/openapi.json").json == json.loads(openapi.page())
