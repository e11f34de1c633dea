"""How fast a model reaches a device: the real controller and the real agent through a broker on loopback, beside raw TCP in the same run.

    .venv/bin/python benchmarks/transfer.py [--mb 14] [--repeats 9] [--broker auto|mosquitto|amqtt] [--json]

Device side: from the agent's state DOWNLOADING (before its first request) to its state VERIFIED (every chunk and the whole file verified, fsynced and
renamed to its digest), by the times in its own events; the chunk list and the journal's writes between the two are in it. Raw TCP repetitions
alternate with the model's, so that both see the same machine.
"""

from __future__ import annotations

import os
import sys
import time
from urllib.parse import quote

import click
import msgspec
import procfs
from edgewright.cli.output import json_option, number, print_failure, print_json, print_table
from edgewright.controller.access import CONTROLLER_USER
from edgewright.controller.blobs import BlobStore
from edgewright.controller.broker import Kind
from edgewright.controller.orders import new_deployment_id
from edgewright.controller.packing import MODEL_NAME
from edgewright.controller.reports import Reports
from edgewright.core.artifact import Artifact, Blob
from edgewright.core.errors import EdgewrightError, Faulty
from edgewright.core.wire.messages import TERMINAL_STATES, Event, Order
from raw_tcp import send_and_time
from rig import DEVICE, Rig, exit_on_sigterm
from spread import Conditions, Spread, conditions, conditions_line

MODEL = "random"
TRANSFER_S = 120.0
MB = 1e6


class Rss(msgspec.Struct, frozen=True):
    """The agent's resident memory: before the first transfer, and the most that any transfer took above that."""

    idle_mb: float
    peak_mb: float
    above_idle_mb: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--json`` prints. Speeds are the device's, in 10⁶ bytes per second."""

    size_mb: float
    repeats: int
    mb_per_s: Spread
    raw_tcp_mb_per_s: Spread
    ratio_to_raw_tcp: float
    seconds: tuple[float, ...]
    raw_tcp_seconds: tuple[float, ...]
    agent_rss: Rss
    conditions: Conditions


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--mb", type=click.FloatRange(0.1, 4000), default=14.0, show_default=True, help="Size of the model, in 10⁶ bytes.")
@click.option("--repeats", type=click.IntRange(1, 1000), default=9, show_default=True, help="Transfers of each kind; every one sends new bytes.")
@click.option("--broker", type=click.Choice(["auto", "mosquitto", "amqtt"]), default="auto", show_default=True, help="Which broker to start.")
@json_option
def main(mb: float, repeats: int, broker: Kind, as_json: bool) -> None:
    """Transfer a random model to a device through a broker on loopback, and over raw TCP."""
    exit_on_sigterm()
    try:
        result = measure(round(mb * MB), repeats, broker)
    except EdgewrightError as error:
        print_failure(error.reason, as_json=as_json)
        sys.exit(1)
    if as_json:
        print_json(result)
    else:
        print_result(result)


def measure(size_bytes: int, repeats: int, broker: Kind) -> Result:
    """Run the repetitions, raw TCP and MQTT in turn.

    Raises:
        EdgewrightError: no broker, or a transfer did not get there.
    """
    with Rig(broker) as rig:
        address = f"mqtt://{CONTROLLER_USER}:{quote(rig.password, safe='')}@127.0.0.1:{rig.broker.port}"
        command = [sys.executable, "-m", "edgewright.cli.main", "fleet", "serve", "--state", str(rig.paths.root), "--broker", address, "--json"]
        rig.start("serve", command)
        idle_mb, peak_mb = procfs.rss_mb(rig.agent.pid), 0.0
        seconds, raw_seconds = [], []
        for number_done in range(repeats):
            source = rig.folder / "model.bin"
            source.write_bytes(os.urandom(size_bytes))
            blob = BlobStore(rig.paths.blobs).add_file(source)
            raw_seconds.append(send_and_time(source, blob.digest, rig.folder))
            (rig.folder / blob.digest).unlink()
            procfs.reset_peak(rig.agent.pid)
            seconds.append(_deploy_and_time(rig, blob))
            peak_mb = max(peak_mb, procfs.peak_rss_mb(rig.agent.pid))
            _progress(number_done + 1, repeats)
        found = conditions(rig.broker.kind, rig.folder)
    return Result(
        size_mb=size_bytes / MB,
        repeats=repeats,
        mb_per_s=speeds(size_bytes, seconds),
        raw_tcp_mb_per_s=speeds(size_bytes, raw_seconds),
        ratio_to_raw_tcp=round(speeds(size_bytes, seconds).median / speeds(size_bytes, raw_seconds).median, 3),
        seconds=tuple(round(value, 4) for value in seconds),
        raw_tcp_seconds=tuple(round(value, 4) for value in raw_seconds),
        agent_rss=Rss(round(idle_mb, 1), round(peak_mb, 1), round(peak_mb - idle_mb, 1)),
        conditions=found,
    )


def speeds(size_bytes: int, seconds: list[float]) -> Spread:
    return Spread.of([size_bytes / MB / value for value in seconds], digits=1)


def _deploy_and_time(rig: Rig, blob: Blob) -> float:
    """Send one deployment of random bytes, and wait until the device has refused it as no model; returns the seconds of its download."""
    order = Order(
        deployment=new_deployment_id(MODEL), version=blob.digest[:12], model=Artifact({MODEL_NAME: blob}), model_file=MODEL_NAME, recipe="none"
    )
    reports = Reports(rig.database)
    events: dict[str, Event] = {}

    def is_over() -> bool:
        events.update({event.state: event for _, event in reports.events(order.deployment)})
        return bool(events.keys() & TERMINAL_STATES)

    rig.orders.deploy(MODEL, order, [DEVICE], time.time())
    rig.wait_until(is_over, "agent", TRANSFER_S)
    return download_s(events)


def download_s(events: dict[str, Event]) -> float:
    """The seconds between two states of one deployment, by the device's own clock.

    Raises:
        Faulty: ``bench-no-transfer`` when it never came so far.
    """
    if not {"DOWNLOADING", "VERIFIED"} <= events.keys() or "PAUSED" in events:
        last = max(events.values(), key=lambda event: event.sequence, default=None)
        why = last.reason.line() if last is not None and last.reason is not None else "the connection was lost on the way"
        raise Faulty("bench-no-transfer", f"the model did not reach the device in one piece: {why}", "Run the benchmark again")
    return events["VERIFIED"].time_s - events["DOWNLOADING"].time_s


def _progress(done: int, repeats: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{done} of {repeats}" + ("\n" if done == repeats else ""), err=True, nl=False)


def print_result(result: Result) -> None:
    """Both ways in one table, then the agent's memory."""
    rows = [
        [name, *(number(value, digits=1) for value in (spread.median, spread.min, spread.max)), ratio]
        for name, spread, ratio in (
            (f"MQTT, {result.conditions.broker}", result.mb_per_s, f"{result.ratio_to_raw_tcp:.2f}"),
            ("raw TCP", result.raw_tcp_mb_per_s, "1"),
        )
    ]
    click.echo(f"{result.size_mb:g} MB from request to verified and on disk, {result.repeats} times each way in turn; device-side MB/s")
    print_table(["", "median", "min", "max", "of raw TCP"], rows)
    rss = result.agent_rss
    click.echo(f"agent's resident memory: {rss.idle_mb:.1f} MB idle, at most {rss.peak_mb:.1f} MB while transferring (+{rss.above_idle_mb:.1f} MB)")
    click.echo(conditions_line(result.conditions))


if __name__ == "__main__":
    main()
