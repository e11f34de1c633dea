"""What the pages show of a small fleet, one of whose devices tells scripts instead of words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from edgewright.controller.audit import AuditLog
from edgewright.controller.web import pages

NOW_S = 1_800_000_000.0
NASTY = "<script>alert(1)</script>"
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;"
TEMPLATES = sorted(path.name for path in Path(pages.__path__[0]).glob("*.html"))


@pytest.fixture
def rollout(program, lively):
    begun = program("operator").send("POST", "/api/v1/rollouts", {"deployment": "d-1", "plan": {"canary": 1, "approval": "start"}})
    return begun.json["rollout"]


def secret_of(page):
    return page.text.partition('name="form_secret" value="')[2].partition('"')[0]


def test_every_page_shows_itself_and_nothing_that_a_device_told_runs(browser, rollout):
    viewer = browser("admin")
    paths = ["/", "/devices", "/devices/board-1", "/devices/board-2", "/rollouts", f"/rollouts/{rollout}", "/deployments/d-1", "/audit"]
    found = {path: viewer.get(path) for path in paths}

    assert dict.fromkeys(paths, 200) == {path: page.status for path, page in found.items()}
    assert [path for path, page in found.items() if NASTY in page.text or "<b>it</b>" in page.text] == []
    assert {path for path in found if ESCAPED in found[path].text} >= {"/", "/devices/board-2", "/deployments/d-1"}
    assert [path for path, page in found.items() if re.search(r"<script(?! src=)|\son\w+=|\sstyle=", page.text)] == []


def test_a_refusal_says_what_whose_fault_it_is_and_what_to_do(browser, lively):
    page = browser().get("/devices/board-2").text

    assert all(words in page for words in ("build-failed", "This device", "What to do: Look at &lt;b&gt;it&lt;/b&gt;"))


def test_the_device_shows_what_runs_and_its_power_over_time(browser, lively):
    page = browser().get("/devices/board-1").text

    assert "Power of board-1 over time" in page
    assert "4.00 ms" in page
    assert "2.00 ×" in page


def test_latency_over_time_has_lines_for_each_model_of_its_own(browser, lively, orders, order, recorder, event, measured):
    for number, model in enumerate(("m", "n", "n")):
        orders.deploy(model, order(f"e-{number}", str(number)), ["board-1"], NOW_S + 200 + number, "user:x")
        told = event("MEASURED", sequence=100 + number, deployment=f"e-{number}", model=model, measurement=measured)
        recorder.record(told, NOW_S + 300 + number)
    page = browser().get("/devices/board-1").text

    assert all(f"<title>{name}</title>" in page for name in ("m p50", "m p99", "m FP32 p50", "n p50"))


def test_the_deployment_shows_fp32_beside_the_chosen_engine_and_the_front(browser, lively):
    page = browser().get("/deployments/d-1").text

    assert "class A" in page
    assert "slow: 9 ms, 24.0 dB, measured by 1, chosen by 0 devices" in page
    assert page.count('class="dot s0 best"') == 2


def test_devices_are_searched_and_a_wrong_label_is_told(browser, lively):
    viewer = browser()
    found, wrong = viewer.get("/devices?label=site%3Dhall-3").text, viewer.get("/devices?label=hall-3").text

    assert ("board-1" in found, "board-2" in found) == (True, False)
    assert "is no label" in wrong


def test_orders_are_asked_for_confirmation_and_then_done(browser, rollout, program, database):
    operator = browser("operator")
    assert "?" in operator.get(f"/rollouts/{rollout}/pause").text
    assert program().get(f"/api/v1/rollouts/{rollout}").json["state"] == "RUNNING"
    secret = secret_of(operator.get("/"))
    for path, fields in (
        (f"/rollouts/{rollout}/pause", {}),
        (f"/rollouts/{rollout}/cancel", {}),
        ("/devices/board-1/label", {"key": "line", "value": "7"}),
        ("/devices/board-1/profile", {"model": "m", "seconds": "2"}),
        ("/devices/board-1/models/m/rollback", {}),
        ("/deployments/d-1/roll-out", {"labels": "site=hall-3", "canary": "1", "approval": "each-wave"}),
        ("/deployments/d-1/cancel", {}),
    ):
        done = operator.post(path, {**fields, "form_secret": secret})
        assert done.status == 303, (path, done.text)

    actions = [entry.action for entry in reversed(AuditLog(database).entries()) if entry.actor == "token:operator"]
    assert actions == ["rollout.start", "rollout.pause", "rollout.cancel", "device.label", "device.profile", "device.rollback", "rollout.start"]


def test_a_form_that_makes_no_sense_is_answered_with_a_page_that_says_why(browser, lively):
    operator = browser("operator")
    secret = secret_of(operator.get("/"))
    wrong = operator.post("/devices/board-1/label", {"key": "A!", "value": "x", "form_secret": secret})
    number = operator.post("/devices/board-1/profile", {"seconds": "ten", "form_secret": secret})

    assert (wrong.status, "label-malformed" in wrong.text) == (400, True)
    assert (number.status, "form-malformed" in number.text) == (400, True)


def test_what_is_not_there_is_told_on_a_page_with_the_nearest_name(browser, lively):
    page = browser().get("/devices/board-11")

    nothing = browser().get("/nothing", accept="text/html")

    assert page.status == 404
    assert "board-1" in page.text
    assert (nothing.status, "There is no such thing" in nothing.text) == (404, True)


def test_an_empty_fleet_says_what_to_do_first(browser, site, program):
    admin = program("admin")
    for device in ("board-1", "board-2"):
        admin.send("POST", f"/api/v1/devices/{device}/retire")
    viewer = browser()

    assert "edgewright fleet enroll" in viewer.get("/").text
    assert "Nothing was rolled out yet" in viewer.get("/rollouts").text
    assert "No device matches" in viewer.get("/devices").text


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_template_switches_escaping_off(template):
    text = (Path(pages.__path__[0]) / template).read_text(encoding="utf-8")

    assert "|safe" not in text.replace(" ", "")
    assert "autoescape" not in text
