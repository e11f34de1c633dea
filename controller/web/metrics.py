"""What Prometheus may know of a fleet and of these pages. Labels are hardware classes, states and codes, never devices: their number is bounded.

The fleet is looked at when somebody scrapes; several scrapers share one look.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from ..comparison import EngineMedians
from ..inventory import ClassCount
from ..overview import FleetOverview
from .site import Site

MAX_CLASSES = 50
MAX_ROLLOUTS = 50
OTHER = "other"
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class RequestCounts:
    """How many requests came and how long they took, by the route's pattern. Any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        names = ("method", "route", "status")
        self._requests = Counter("edgewright_http_requests", "Requests by their route.", names, registry=registry)
        self._seconds = Histogram(
            "edgewright_http_request_seconds", "Time to the answer's first byte.", ("route",), registry=registry, buckets=_BUCKETS_S
        )

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        known = method if method in {"GET", "POST", "PATCH", "DELETE", "HEAD"} else OTHER
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)


class FleetMetrics(Collector):
    """The fleet as gauges."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def collect(self) -> Iterator[Metric]:
        return iter(self._site.recent.get("metrics", self._look))

    def describe(self) -> list[Metric]:
        """No names in advance: asking for them must not look at the database."""
        return []

    def _look(self) -> list[Metric]:
        begun_s = time.monotonic()
        view = self._site.overview.look(self._site.clock())
        return [
            _gauge("edgewright_build_info", "This program.", ("version", "fleet"), [((version("edgewright"), self._site.fleet), 1)]),
            *_devices(view),
            *_goals(view),
            *_rollouts(self._site, view),
            *_engines(self._site.comparison.of_goals()),
            _gauge("edgewright_look_seconds", "Time that this look at the fleet took.", (), [((), time.monotonic() - begun_s)]),
        ]


def registry_of(site: Site) -> CollectorRegistry:
    """A registry of our own: nothing of other libraries in it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(FleetMetrics(site))
    return registry


def text_of(registry: CollectorRegistry) -> tuple[bytes, str]:
    """What a scraper is given, and its content type."""
    return generate_latest(registry), CONTENT_TYPE_LATEST


Rows = Sequence[tuple[tuple[str, ...], float]]


def _gauge(name: str, words: str, labels: tuple[str, ...], rows: Rows) -> Metric:
    family = GaugeMetricFamily(name, words, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def _devices(view: FleetOverview) -> list[Metric]:
    classes = _bounded(view.classes)
    presence = [((entry.hardware_class, "online"), entry.online) for entry in classes]
    presence += [((entry.hardware_class, "offline"), entry.devices - entry.online) for entry in classes]
    return [
        _gauge("edgewright_devices", "Enrolled devices by hardware class and presence.", ("hardware_class", "presence"), presence),
        _gauge("edgewright_devices_never_seen", "Enrolled devices that have never said a word.", (), [((), view.never_seen)]),
        _gauge("edgewright_devices_retired", "Devices that have left the fleet.", (), [((), view.retired)]),
        _gauge("edgewright_certificates_expiring", "Certificates of devices that expire within 30 days.", (), [((), view.expiring_certificates)]),
    ]


def _goals(view: FleetOverview) -> list[Metric]:
    states = [((entry.state or "UNHEARD",), entry.goals) for entry in view.states]
    refusals = [((entry.code, entry.family), entry.devices) for entry in view.refusals]
    return [
        _gauge("edgewright_goals", "Models that devices shall have, by how far they are.", ("state",), states),
        _gauge("edgewright_refusals", "Goals that were refused or failed, by code and by whose fault.", ("code", "family"), refusals),
        _gauge("edgewright_goals_unsent", "Signed goals that the broker has not been given yet.", (), [((), view.unsent_goals)]),
        _gauge("edgewright_commands_waiting", "Commands that wait to be sent.", (), [((), view.open_commands)]),
    ]


def _rollouts(site: Site, view: FleetOverview) -> list[Metric]:
    states = [((state,), count) for state, count in view.rollouts.items()]
    rows: dict[tuple[str, str], float] = {}
    for rollout in site.rollouts.all(site.clock(), limit=MAX_ROLLOUTS, only_open=True):
        for outcome in ("released", "succeeded", "failed", "silent", "open"):
            rows[rollout.model, outcome] = sum(getattr(wave, outcome) for wave in rollout.waves)
        rows[rollout.model, "size"] = sum(wave.size for wave in rollout.waves)
    return [
        _gauge("edgewright_rollouts", "Rollouts by state.", ("state",), states),
        _gauge("edgewright_rollout_devices", "Devices of each model's open rollout by outcome.", ("model", "outcome"), list(rows.items())),
    ]


def _engines(engines: Sequence[EngineMedians]) -> list[Metric]:
    """Medians of the largest classes."""
    largest = sorted({one.hardware_class for one in engines}, key=lambda name: -max(one.devices for one in engines if one.hardware_class == name))
    kept = [one for one in engines if one.hardware_class in largest[:MAX_CLASSES]]
    figures = {
        "latency_p50_ms": "Median over devices of the latency's median.",
        "latency_p99_ms": "Median over devices of the latency's 99th percentile.",
        "energy_mj": "Median over devices of the energy per inference.",
        "size_bytes": "Median size of the engine's file.",
    }
    return [
        _gauge(
            f"edgewright_{name}",
            f"{words} Of what is the goal now: FP32, and what was chosen.",
            ("hardware_class", "engine"),
            [((one.hardware_class, one.engine), value) for one in kept if (value := getattr(one, name)) is not None],
        )
        for name, words in figures.items()
    ]


def _bounded(classes: Sequence[ClassCount]) -> list[ClassCount]:
    """The largest classes, and one for all others: devices choose their class's name."""
    kept, rest = list(classes[:MAX_CLASSES]), classes[MAX_CLASSES:]
    if rest:
        devices, online = sum(entry.devices for entry in rest), sum(entry.online for entry in rest)
        kept.append(ClassCount(hardware_class=OTHER, devices=devices, online=online))
    return kept
