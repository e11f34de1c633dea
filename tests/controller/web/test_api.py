from __future__ import annotations

import json

import jsonschema
import pytest
from edgewright.controller.audit import AuditLog
from edgewright.controller.tokens import ROLES
from edgewright.controller.web import openapi
from edgewright.controller.web.api import PREFIX
from edgewright.controller.web.operations import OPERATIONS

NOW_S = 1_800_000_000.0
LOOKING = [operation for operation in OPERATIONS if operation.method == "GET"]


def path_of(operation, rollout=None):
    names = {"device": "board-1", "deployment": "d-1", "model": "m", "command": "c", "rollout": rollout or "latest"}
    return PREFIX + operation.path.format(**names)


@pytest.fixture
def rollout(program, lively):
    """A rollout of what ``d-1`` holds."""
    begun = program("operator").send("POST", f"{PREFIX}/rollouts", {"deployment": "d-1", "plan": {"canary": 1, "approval": "start"}})
    assert begun.status == 200, begun.text
    return begun.json["rollout"]


def test_what_is_answered_is_what_the_description_says(program, rollout):
    viewer, document = program("viewer"), json.loads(openapi.page())
    for operation in LOOKING:
        answer = viewer.get(path_of(operation))
        told = document["paths"][PREFIX + operation.path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]

        assert answer.status == 200, (operation.name, answer.text)
        jsonschema.Draft202012Validator({**told, "components": document["components"]}).validate(answer.json)


def test_each_operation_needs_its_role_and_without_a_token_nothing_is_done(program, lively, database):
    below = {role: program(ROLES[ROLES.index(role) - 1] if role != "viewer" else None) for role in ROLES}
    deeds = len(AuditLog(database).entries())
    refused = {operation.name: below[operation.role].send(operation.method, path_of(operation)) for operation in OPERATIONS}

    assert {operation.name: "unauthenticated" if operation.role == "viewer" else "forbidden" for operation in OPERATIONS} == {
        name: answer.code for name, answer in refused.items()
    }
    assert {401, 403} == {answer.status for answer in refused.values()}
    assert all(answer.json["next"] for answer in refused.values())
    assert len(AuditLog(database).entries()) == deeds


def test_a_wrong_token_is_told_so_and_too_many_wrong_ones_have_to_wait(program, app, asgi, clock):
    stranger = asgi.Client(app, "ewt_000000000000_" + "A" * 43)
    codes = [stranger.get(f"{PREFIX}/overview").code for _ in range(11)]
    good = program("viewer", address=stranger.address)
    held_up = good.get(f"{PREFIX}/overview")
    clock.now_s += 301

    assert codes == ["unauthenticated"] * 10 + ["too-many-attempts"]
    assert (held_up.status, held_up.code) == (429, "too-many-attempts")
    assert good.get(f"{PREFIX}/overview").status == 200
    assert program("viewer", address="192.0.2.99").get(f"{PREFIX}/overview").status == 200


def test_devices_come_in_pages_that_are_searched(program, lively):
    viewer = program("viewer")
    first = viewer.get(f"{PREFIX}/devices?limit=1").json
    second = viewer.get(f"{PREFIX}/devices?limit=1&after={first['next']}").json
    found = viewer.get(f"{PREFIX}/devices?label=site%3Dhall-3&online=true&text=BOARD").json

    assert [device["name"] for device in first["devices"] + second["devices"]] == ["board-1", "board-2"]
    assert (first["total"], second["total"]) == (2, 2)
    assert [device["name"] for device in found["devices"]] == ["board-1"]


QUESTIONS = [
    ("/devices?limit=0", 400, "parameters-malformed"),
    ("/devices?limit=x", 400, "parameters-malformed"),
    ("/devices?limt=1", 400, "parameters-malformed"),
    ("/devices?limit=1&limit=2", 400, "parameters-malformed"),
    ("/devices/board-1?device=board-2", 400, "parameters-malformed"),
    ("/devices?text=" + "x" * 201, 400, "parameters-malformed"),
    ("/devices?label=nothing", 400, "label-malformed"),
    ("/devices/board-9", 404, "device-unknown"),
    ("/rollouts/r-9", 404, "rollout-unknown"),
    ("/deployments/d-9", 404, "deployment-unknown"),
    ("/export/secrets", 404, "export-unknown"),
    ("/export/devices?format=xml", 404, "export-unknown"),
    ("/nothing", 404, "not-found"),
]


def test_a_question_that_makes_no_sense_is_answered_with_its_reason(program, lively):
    viewer = program("viewer")
    answers = [viewer.get(PREFIX + path) for path, _, _ in QUESTIONS]

    assert [(path, answer.status, answer.code) for (path, _, _), answer in zip(QUESTIONS, answers, strict=True)] == QUESTIONS


ORDERS = [
    ("PATCH", "/devices/board-1/labels", b"{", 400, "body-malformed"),
    ("PATCH", "/devices/board-1/labels", b"[" * 50_000, 400, "body-malformed"),
    ("PATCH", "/devices/board-1/labels", {"labels": {"a": 1}}, 400, "body-malformed"),
    ("PATCH", "/devices/board-1/labels", {"labels": {}, "more": 1}, 400, "body-malformed"),
    ("PATCH", "/devices/board-1/labels", {"labels": {"A!": "b"}}, 400, "label-malformed"),
    ("PATCH", "/devices/board-1/labels", b" " * 70_000, 413, "body-too-large"),
    ("POST", "/devices/board-1/profile", {"seconds": 1e9}, 400, "body-malformed"),
    ("POST", "/rollouts", {"deployment": "d-1", "plan": {"shares": [0.5, 0.1]}}, 400, "rollout-plan-malformed"),
    ("POST", "/rollouts", {"deployment": "d-1", "selector": {"labels": {"site": "nowhere"}}}, 400, "no-device-selected"),
    ("POST", "/rollouts", {"deployment": "d-9"}, 404, "deployment-unknown"),
    ("DELETE", "/devices/board-1/models/nothing", None, 404, "model-unknown"),
    ("DELETE", "/rollouts", None, 405, "method-not-allowed"),
]


def test_an_order_that_makes_no_sense_is_refused_and_changes_nothing(program, lively, database):
    admin = program("admin")
    deeds = len(AuditLog(database).entries())
    answers = [admin.send(method, PREFIX + path, body) for method, path, body, _, _ in ORDERS]

    assert [entry[3:] for entry in ORDERS] == [(answer.status, answer.code) for answer in answers]
    assert len(AuditLog(database).entries()) == deeds


def test_a_body_that_is_no_json_by_its_own_word_is_refused(program, lively):
    answer = program("admin").send("PATCH", f"{PREFIX}/devices/board-1/labels", {"labels": {}}, content_type="text/plain")

    assert (answer.status, answer.code) == (400, "body-malformed")


def test_a_rollout_is_conducted_and_each_order_has_its_line_in_the_audit_log(program, rollout, database):
    operator, approver = program("operator"), program("approver")
    states = []
    for who, deed in ((operator, "pause"), (operator, "resume"), (approver, "pause"), (approver, "approve"), (operator, "cancel")):
        answer = who.send("POST", f"{PREFIX}/rollouts/{rollout}/{deed}")
        states.append(answer.json.get("state") or answer.text)
    again = operator.send("POST", f"{PREFIX}/rollouts/{rollout}/pause")
    deeds = [(entry.actor, entry.action) for entry in AuditLog(database).entries(rollout)]

    assert states == ["PAUSED", "RUNNING", "PAUSED", "RUNNING", "CANCELED"]
    assert (again.status, again.code) == (409, "rollout-state")
    assert deeds[:3] == [("token:operator", "rollout.cancel"), ("token:approver", "rollout.approve"), ("token:approver", "rollout.pause")]


def test_a_device_is_labelled_measured_rolled_back_and_wiped(program, lively, database):
    operator, admin = program("operator"), program("admin")
    labels = operator.send("PATCH", f"{PREFIX}/devices/board-1/labels", {"labels": {"site": None, "line": "7"}}).json["labels"]
    (profile,) = operator.send("POST", f"{PREFIX}/devices/board-1/profile", {"seconds": 2.0}).json["commands"]
    (back,) = operator.send("POST", f"{PREFIX}/devices/board-1/models/m/rollback").json["commands"]
    told = operator.get(f"{PREFIX}/devices/board-1/commands").json["commands"]
    wiped = admin.send("POST", f"{PREFIX}/devices/board-1/wipe")

    assert labels == {"line": "7"}
    assert {(entry["command"], entry["verb"], entry["ok"]) for entry in told} == {(profile, "profile", None), (back, "rollback", None)}
    assert operator.get(f"{PREFIX}/commands/{back}").json == {"reply": None, "profile": None}
    assert wiped.status == 200
    assert operator.get(f"{PREFIX}/devices/board-1").json["goals"] == []
    actions = [entry.action for entry in AuditLog(database).entries("board-1")]
    assert actions[:4] == ["device.wipe", "device.rollback", "device.profile", "device.label"]


def test_a_retired_device_is_gone_from_the_list_and_its_access_with_it(program, lively):
    admin = program("admin")
    admin.send("POST", f"{PREFIX}/devices/board-2/retire")

    assert [device["name"] for device in admin.get(f"{PREFIX}/devices").json["devices"]] == ["board-1"]
    assert [device["name"] for device in admin.get(f"{PREFIX}/devices?retired=true").json["devices"]] == ["board-2"]


def test_a_deployment_is_ended_where_it_is_not_over(program, lively, orders, order):
    orders.deploy("m", order("d-2", "2"), ["board-1"], NOW_S + 80)
    ended = program("operator").send("POST", f"{PREFIX}/deployments/d-2/cancel").json["commands"]

    assert len(ended) == 1
    assert program("operator").send("POST", f"{PREFIX}/deployments/d-1/cancel").json["commands"] == []


def test_a_deed_by_cookie_is_not_for_the_rest_interface(browser, lively):
    admin = browser("admin")

    assert admin.get(f"{PREFIX}/overview").status == 200
    assert admin.send("POST", f"{PREFIX}/devices/board-1/wipe").code == "unauthenticated"


def test_exports_hold_every_row_in_both_forms(program, lively):
    viewer = program("viewer")
    for kind in ("devices", "measurements", "audit"):
        table, lines = viewer.get(f"{PREFIX}/export/{kind}?format=csv"), viewer.get(f"{PREFIX}/export/{kind}?format=json")
        rows = [json.loads(line) for line in lines.text.splitlines()]

        assert table.headers["content-disposition"] == f'attachment; filename="fleet-{kind}.csv"'
        assert len(table.text.splitlines()) == len(rows) + 1 > 1
        assert table.text.splitlines()[0].split(",") == list(rows[0])
