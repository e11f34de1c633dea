from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the controller needs SQLAlchemy: pip install 'edgewright[controller]'")

from edgewright.cli import fleet_deploy
from edgewright.controller.database import Database
from edgewright.controller.orders import Orders
from edgewright.controller.paths import FleetPaths
from edgewright.controller.recorder import Recorder
from edgewright.core.errors import Reason
from edgewright.core.wire.messages import Desired, Envelope, Event, ModelReport, Reported, decode

Run = Callable[..., Any]
NOW_S = 1_800_000_000.0


@pytest.fixture
def fleet(edgewright: Run, tmp_path: Path) -> Path:
    """The state folder of a fleet with two devices."""
    folder = tmp_path / "state"
    edgewright("fleet", "keys", "init", "--state", folder)
    for name in ("board-1", "board-2"):
        assert edgewright("fleet", "enroll", name, "--state", folder, "--out", tmp_path / name).status == 0
    return folder


@pytest.fixture
def database(fleet: Path) -> Iterator[Database]:
    with closing(Database(FleetPaths(fleet).database)) as database:
        yield database


@pytest.fixture
def say(database: Database) -> Callable[..., None]:
    """Let a device report a state of the latest deployment that was made by `deployed`."""
    numbers = iter(range(1, 1000))
    recorder = Recorder(database)

    def say(deployment: str, device: str, state: Any, **fields: Any) -> None:
        number = next(numbers)
        event = Event(
            fleet="fleet",
            device=device,
            id=f"e{number}",
            sequence=number,
            deployment=deployment,
            model="m",
            attempt=1,
            state=state,
            time_s=NOW_S,
            **fields,
        )
        recorder.record(event, NOW_S)

    return say


@pytest.fixture
def deployed(edgewright: Run, fleet: Path, tiny_classifier: Path) -> str:
    deployment: str = edgewright("fleet", "deploy", tiny_classifier, "--state", fleet, "--json").json["deployment"]
    return deployment


def goals(database: Database) -> dict[str, Desired]:
    signed = Orders(database, "fleet").sign_changed_goals(lambda _: ("0" * 64, "0" * 128), NOW_S)
    return {device: decode(decode(payload, Envelope).signed, Desired) for device, payload in signed}


def test_a_model_is_ordered_with_everything_that_was_said(
    edgewright: Run, fleet: Path, database: Database, tiny_classifier: Path, tiny_samples: Path, tmp_path: Path
) -> None:
    budget = tmp_path / "budget.toml"
    budget.write_text("max_latency_p99_ms = 8.0\n", encoding="utf-8")
    options = ["--calibration", tiny_samples, "--evaluation", tiny_samples, "--budget", budget, "--recipe", "int8", "--name", "surface"]
    options += ["--version", "7", "--device", "board-2", "--probation", 5, "--deadline", 900]
    ran = edgewright("fleet", "deploy", tiny_classifier, "--state", fleet, *options, "--json")
    models = {device: goal.models for device, goal in goals(database).items()}
    order = models["board-2"]["surface"]

    assert ran.json == {"deployment": order.deployment, "model": "surface", "version": "7"}
    assert models["board-1"] == {}
    assert (order.version, order.recipe, order.probation_s, order.deadline_s) == ("7", "int8", 5.0, 900.0)
    assert order.budget.max_latency_p99_ms == 8.0
    assert sorted(order.model.files) == ["model.onnx", "model.toml"]
    assert order.calibration == order.evaluation
    assert order.calibration is not None
    assert list(order.calibration.files) == ["samples.npz"]


def test_a_coded_model_travels_smaller_and_is_the_same_model(
    edgewright: Run, fleet: Path, database: Database, wide_classifier: Path, tmp_path: Path
) -> None:
    from edgewright.compression.codec.container import write_decoded

    edgewright("fleet", "deploy", wide_classifier, "--state", fleet, "--codec", "ewz", "--json")
    order = goals(database)["board-1"].models["wide"]
    blob = order.model.files[order.model_file]
    write_decoded(FleetPaths(fleet).blobs / blob.digest, tmp_path / "back.onnx")

    assert (order.model_file, sorted(order.model.files)) == ("model.ewz", ["model.ewz", "model.toml"])
    assert blob.size_bytes < wide_classifier.stat().st_size
    assert (tmp_path / "back.onnx").read_bytes() == wide_classifier.read_bytes()


def test_without_options_the_file_names_the_model_and_its_digest_the_version(
    edgewright: Run, fleet: Path, tiny_classifier: Path, tmp_path: Path
) -> None:
    path = tmp_path / "My_Model.v2.onnx"
    path.write_bytes(tiny_classifier.read_bytes())
    answer = edgewright("fleet", "deploy", path, "--state", fleet, "--json").json

    assert answer["model"] == "my-model-v2"
    assert len(answer["version"]) == 12
    assert FleetPaths(fleet).blobs.joinpath(next(path.name for path in FleetPaths(fleet).blobs.iterdir() if path.name.startswith(answer["version"])))


def test_a_person_is_told_how_to_follow(edgewright: Run, fleet: Path, tiny_classifier: Path) -> None:
    ran = edgewright("fleet", "deploy", tiny_classifier, "--state", fleet)
    deployment = ran.out.partition(":")[0]

    assert ran.out == f"{deployment}: edgewright fleet watch {deployment}\n"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--device", "board-9"], "device-unknown"),
        (["--name", "No Name"], "bad-name"),
        (["--calibration", "absent.npz"], "dataset-missing"),
        (["--budget", "absent.toml"], "budget-unreadable"),
        (["--version", "v" * 200], "message-malformed"),
    ],
)
def test_an_order_that_cannot_be_is_one_line_and_changes_nothing(
    edgewright: Run, fleet: Path, database: Database, tiny_classifier: Path, options: list[str], code: str
) -> None:
    ran = edgewright("fleet", "deploy", tiny_classifier, "--state", fleet, *options, "--json")

    assert (ran.status, ran.code) == (1, code)
    assert [goal.models for goal in goals(database).values()] == [{}, {}]


def test_a_model_that_is_not_there_is_one_line(edgewright: Run, fleet: Path, tmp_path: Path) -> None:
    ran = edgewright("fleet", "deploy", tmp_path / "gone.onnx", "--state", fleet, "--json")

    assert (ran.status, ran.code) == (1, "model-missing")


def test_a_fleet_of_nobody_takes_no_deployment(edgewright: Run, tmp_path: Path, tiny_classifier: Path) -> None:
    edgewright("fleet", "keys", "init", "--state", tmp_path / "empty")
    ran = edgewright("fleet", "deploy", tiny_classifier, "--state", tmp_path / "empty", "--json")

    assert (ran.status, ran.code) == (1, "device-unknown")
    assert "enroll" in ran.json["error"]["next"]


@pytest.mark.parametrize("option", [["--deadline", "0"], ["--probation", "-1"], ["--deadline", "soon"], ["--colour", "red"]])
def test_bad_usage_ends_with_two(edgewright: Run, fleet: Path, tiny_classifier: Path, option: list[str]) -> None:
    assert edgewright("fleet", "deploy", tiny_classifier, "--state", fleet, *option).status == 2


def test_a_model_is_taken_from_devices(edgewright: Run, fleet: Path, database: Database, tiny_classifier: Path) -> None:
    edgewright("fleet", "deploy", tiny_classifier, "--state", fleet, "--name", "m")

    assert edgewright("fleet", "remove", "m", "--state", fleet, "--device", "board-1").out == "m: taken from the goal of 1 devices\n"
    assert {device: sorted(goal.models) for device, goal in goals(database).items()} == {"board-1": [], "board-2": ["m"]}
    assert edgewright("fleet", "remove", "m", "--state", fleet, "--json").json == {"model": "m", "devices": 1}
    ran = edgewright("fleet", "remove", "m", "--state", fleet, "--json")
    assert (ran.status, ran.code) == (1, "model-unknown")


def test_watching_shows_the_states_and_ends_well_when_all_succeed(edgewright: Run, fleet: Path, deployed: str, say: Callable[..., None]) -> None:
    for device in ("board-1", "board-2"):
        say(deployed, device, "OFFERED")
        say(deployed, device, "SUCCEEDED")
    ran = edgewright("fleet", "watch", "--state", fleet)

    assert ran.status == 0
    assert [line.split()[1:] for line in ran.out.splitlines()] == [[f"board-{n}", state] for n in (1, 2) for state in ("OFFERED", "SUCCEEDED")]


def test_watching_waits_for_the_last_device(
    edgewright: Run, fleet: Path, deployed: str, say: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    say(deployed, "board-1", "SUCCEEDED")
    looks: list[float] = []

    def look_again(seconds: float) -> None:  # instead of sleeping
        looks.append(seconds)
        say(deployed, "board-2", "SUCCEEDED" if len(looks) == 3 else "DOWNLOADING")

    monkeypatch.setattr(fleet_deploy, "time", SimpleNamespace(**vars(time) | {"sleep": look_again}))
    ran = edgewright("fleet", "watch", deployed, "--state", fleet, "--json")

    assert (ran.status, len(looks)) == (0, 3)
    assert [device["state"] for device in ran.json["devices"]] == ["SUCCEEDED", "SUCCEEDED"]
    assert [line.split()[1:] for line in ran.err.splitlines()] == [
        ["board-1", "SUCCEEDED"],
        ["board-2", "DOWNLOADING"],
        ["board-2", "DOWNLOADING"],
        ["board-2", "SUCCEEDED"],
    ]


def test_watching_and_the_report_show_how_far_a_build_is(
    edgewright: Run, fleet: Path, deployed: str, database: Database, say: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = iter([0.25, 0.25, 0.5])

    def look_again(_seconds: float) -> None:  # instead of sleeping
        share = next(shares, None)
        if share is None:
            say(deployed, "board-1", "SUCCEEDED")
            return
        model = ModelReport(**slots, deployment=deployed, progress=share, progress_note="building int8")
        message = Reported(fleet="fleet", device="board-1", session=1, desired_sequence=1, time_s=NOW_S, models={"tiny": model})
        Recorder(database).record(message, NOW_S)

    slots = {"active": None, "previous": None, "trial": None}
    say(deployed, "board-1", "OPTIMIZING")
    say(deployed, "board-2", "SUCCEEDED")
    look_again(0)
    report = edgewright("fleet", "report", deployed, "--state", fleet).out
    monkeypatch.setattr(fleet_deploy, "time", SimpleNamespace(**vars(time) | {"sleep": look_again}))
    ran = edgewright("fleet", "watch", deployed, "--state", fleet)

    assert "board-1  OPTIMIZING 25 %, building int8" in report.splitlines()
    assert [line.split(maxsplit=2)[2] for line in ran.out.splitlines() if " board-1 " in line] == [
        "OPTIMIZING",
        "OPTIMIZING 25 %, building int8",
        "OPTIMIZING 50 %, building int8",
        "SUCCEEDED",
    ]


def test_watching_ends_with_one_when_a_device_refuses(edgewright: Run, fleet: Path, deployed: str, say: Callable[..., None]) -> None:
    say(deployed, "board-1", "SUCCEEDED")
    say(deployed, "board-2", "REJECTED", reason=Reason("budget", "too slow\x1b[0m", "Allow more", "rejected"))
    ran = edgewright("fleet", "watch", deployed, "--state", fleet)

    assert ran.status == 1
    assert ran.out.splitlines()[-1].endswith("board-2  REJECTED: too slow�[0m. Allow more")


def test_watching_gives_up_when_it_is_told_to(edgewright: Run, fleet: Path, deployed: str) -> None:
    ran = edgewright("fleet", "watch", deployed, "--state", fleet, "--timeout", "0.01")

    assert (ran.status, ran.out) == (1, "")
    assert "gave up waiting" in ran.err


@pytest.mark.parametrize("command", ["watch", "report", "cancel"])
def test_a_deployment_that_nobody_knows_is_one_line_with_the_nearest(edgewright: Run, fleet: Path, deployed: str, command: str) -> None:
    ran = edgewright("fleet", command, deployed + "x", "--state", fleet, "--json")

    assert (ran.status, ran.code) == (1, "deployment-unknown")
    assert deployed in ran.json["error"]["next"]


def test_a_report_says_what_is_known(edgewright: Run, fleet: Path, deployed: str, say: Callable[..., None]) -> None:
    say(deployed, "board-1", "CANCELED")
    ran = edgewright("fleet", "report", "--state", fleet)
    view = edgewright("fleet", "report", deployed, "--state", fleet, "--json").json

    assert ran.out.splitlines() == ["board-1  CANCELED", "board-2  not heard of yet"]
    assert (view["deployment"], [device["state"] for device in view["devices"]]) == (deployed, ["CANCELED", None])


def test_commands_and_a_serving_process_share_the_database(edgewright: Run, fleet: Path, deployed: str, say: Callable[..., None]) -> None:
    """Events written by another thread's connection while ``watch`` reads."""

    def report() -> None:
        for state in ("OFFERED", "DOWNLOADING", "SUCCEEDED"):
            for device in ("board-1", "board-2"):
                say(deployed, device, state)

    writer = threading.Timer(0.05, report)
    writer.start()
    started_s = time.monotonic()
    ran = edgewright("fleet", "watch", deployed, "--state", fleet, "--timeout", "30")
    writer.join()

    assert ran.status == 0
    assert len(ran.out.splitlines()) == 6
    assert time.monotonic() - started_s < 30
