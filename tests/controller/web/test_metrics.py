from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from edgewright.controller.inventory import ClassCount
from edgewright.controller.web.metrics import MAX_CLASSES, OTHER, _bounded
from prometheus_client.parser import text_string_to_metric_families

DASHBOARD = Path(__file__).resolve().parents[3] / "docs" / "grafana" / "fleet.json"


@pytest.fixture
def samples(program, lively):
    viewer = program("viewer")
    viewer.get("/api/v1/overview")
    viewer.get("/api/v1/devices/board-1")
    viewer.get("/api/v1/devices/board-2")
    families = text_string_to_metric_families(viewer.get("/metrics").text)
    return {(sample.name, *sorted(sample.labels.items())): sample.value for family in families for sample in family.samples}


def test_the_fleet_is_counted(samples):
    assert samples["edgewright_devices", ("hardware_class", "class A"), ("presence", "online")] == 1
    assert samples["edgewright_goals", ("state", "SUCCEEDED")] == 1
    assert samples["edgewright_refusals", ("code", "build-failed"), ("family", "unfit")] == 1
    assert samples["edgewright_latency_p50_ms", ("engine", "chosen"), ("hardware_class", "class A")] == 4.0
    assert samples["edgewright_latency_p50_ms", ("engine", "fp32"), ("hardware_class", "class A")] == 8.0


def test_requests_are_counted_by_route_and_no_label_names_a_device(samples):
    assert samples["edgewright_http_requests_total", ("method", "GET"), ("route", "/api/v1/devices/{device}"), ("status", "200")] == 2
    assert [key for key in samples if "board-" in str(key)] == []


def test_every_metric_that_the_ready_dashboard_asks_for_is_there(samples):
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    asked = {name for panel in panels for target in panel["targets"] for name in re.findall(r"edgewright_\w+", target["expr"])}
    optional = {"edgewright_rollout_devices"}  # there while a rollout is open

    assert len(asked) >= 10
    assert asked - optional <= {key[0] for key in samples}


def test_an_open_rollout_is_counted_by_outcome(program, lively):
    program("operator").send("POST", "/api/v1/rollouts", {"deployment": "d-1", "plan": {"canary": 1, "approval": "start"}})

    assert 'edgewright_rollout_devices{model="m",outcome="size"} 2.0' in program().get("/metrics").text


def test_metrics_need_a_token(program, lively):
    assert program(None).get("/metrics").code == "unauthenticated"


def test_devices_cannot_make_the_number_of_series_grow_without_end():
    classes = [ClassCount(hardware_class=f"class {number}", devices=2, online=1) for number in range(500)]
    kept = _bounded(classes)

    assert len(kept) == MAX_CLASSES + 1
    assert (kept[-1].hardware_class, sum(entry.devices for entry in kept), sum(entry.online for entry in kept)) == (OTHER, 1000, 500)
