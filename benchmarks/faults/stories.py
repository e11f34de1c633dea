"""What is done to a board, and the one end that it must come to, whoever was killed on the way."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx
from edgewright.controller.packing import MODEL_NAME, pack_model
from edgewright.core.artifact import Delta, Shortcut
from edgewright.core.budget import Budget
from edgewright.core.delta.codec import encode_delta
from edgewright.core.profile import ProfileOrder
from edgewright.core.wire.messages import TERMINAL_STATES, Order
from onnx import numpy_helper

from .engines import small_model
from .ground import MODEL, Ground

MODEL_SIZE = 340  # 340 × 340 floats: 4 chunks, and their list
HEALTH_FAILS = '[models.surface]\nhealth = ["/bin/false"]\nhealth_interval_s = 0.1\n'
HEALTHY = '[models.surface]\nactivate = ["/bin/true"]\nhealth = ["/bin/true"]\nhealth_interval_s = 0.1\n'


@dataclass(frozen=True, slots=True)
class Story:
    """`base` is the story whose end this one begins with; `begins` what a deployment is first told as, `ends` each one's last state, and `runs`
    what the application has afterwards. `extra` goes into the configuration; `runtime` is what engines are built with. `act` does what the fleet
    does, and waits for nothing but what it needs to go on.
    """

    act: Callable[[Ground], None]
    ends: dict[str, str]
    runs: str | None
    base: str | None = None
    extra: str = ""
    runtime: str = "1"
    begins: str = "OFFERED"


def order(ground: Ground, deployment: str, version: str = "good", **fields: object) -> Order:
    """A deployment of a model of its own."""
    path = ground.folder / f"{deployment}.onnx"
    if not path.exists():
        small_model(path, seed=sum(deployment.encode()), size=MODEL_SIZE)
    model = pack_model(ground.blobs, path)
    return Order(
        deployment=deployment,
        version=version,
        model=model,
        model_file=MODEL_NAME,
        recipe="none",
        **({"probation_s": 0.05} | fields),  # type: ignore[arg-type]
    )


def _deploy(deployment: str, version: str = "good", **fields: object) -> Callable[[Ground], None]:
    return lambda ground: ground.want(order(ground, deployment, version, **fields))


def _cancel_download(ground: Ground) -> None:
    wanted = order(ground, "d2")
    ground.hold(wanted.model.files[MODEL_NAME].digest)
    ground.want(wanted)
    ground.until(lambda: "DOWNLOADING" in ground.states("d2"), "the download")
    ground.command("cancel", "d2")


def _cancel_trial(ground: Ground) -> None:
    ground.want(order(ground, "d2", probation_s=3000.0))
    ground.until(lambda: "PROBATION" in ground.states("d2"), "the trial")
    ground.command("cancel", "d2")


def _supersede(ground: Ground) -> None:
    first, second = order(ground, "d2"), order(ground, "d3")
    ground.hold(first.model.files[MODEL_NAME].digest)
    ground.want(first)
    ground.until(lambda: "DOWNLOADING" in ground.states("d2"), "the download")
    ground.want(second)


def _supersede_trial(ground: Ground) -> None:
    ground.want(order(ground, "d2", probation_s=3000.0))
    ground.until(lambda: "PROBATION" in ground.states("d2"), "the trial")
    ground.want(order(ground, "d3"))


def _roll_back(ground: Ground) -> None:
    ground.want(order(ground, "d2"))
    reply = ground.command("rollback")
    assert reply.ok, reply


def _release(ground: Ground) -> None:
    ground.want(order(ground, "d2"))
    reply = ground.command("release")
    assert reply.ok, reply


def _deploy_by_delta(ground: Ground) -> None:
    """d1 with every weight moved a little: half of its bytes are fetched, and the rest is made of d1."""
    base, target = order(ground, "d1").model.files[MODEL_NAME], ground.folder / "d2-by-delta.onnx"
    if not target.exists():
        model = onnx.load(str(ground.blobs.path(base.digest)))
        weights = numpy_helper.to_array(model.graph.initializer[0])
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights * np.float32(1.001), "w"))
        onnx.save_model(model, str(target))
    packed = pack_model(ground.blobs, target)
    blob = packed.files[MODEL_NAME]
    shutil.copyfile(ground.blobs.path(blob.digest), ground.engines / blob.digest)
    delta = ground.blobs.add_bytes(encode_delta(ground.blobs.path(base.digest), ground.blobs.path(blob.digest)))
    wanted = order(ground, "d2")
    shortcuts = {blob.digest: Shortcut(deltas=(Delta(base.digest, delta),))}
    ground.want(msgspec.structs.replace(wanted, model=packed, shortcuts=shortcuts))


def _profile(ground: Ground) -> None:
    """An order that was accepted is answered: by a profile, or by why there is none."""
    ground.want(order(ground, "d1"))
    reply = ground.command("profile", profile=ProfileOrder(model=MODEL, seconds=0.1))
    assert reply.ok, reply
    # A kill between the order's file and its entry in the journal has it answered as interrupted, and then measured when it is sent again.
    ground.until(lambda: reply.id in ground.profiles and not list((ground.state / "profiles").glob("*.json")), "the profile")


def _new_runtime(ground: Ground) -> None:
    """The goal is as it was; what succeeded is built again."""
    ground.want(order(ground, "d1"))
    ground.until(lambda: running(ground.state) == "d1-2", "the engine of the new runtime")


def _revise(ground: Ground) -> None:
    """The same deployment, wanted again under a new signature: nothing is to be done twice."""
    ground.want(order(ground, "d1"))
    ground.until(lambda: "SUCCEEDED" in ground.states("d1"), "the first time")
    ground.want_again()


STORIES: dict[str, Story] = {
    "first": Story(_deploy("d1"), {"d1": "SUCCEEDED"}, "d1-1"),
    "update": Story(_deploy("d2"), {"d2": "SUCCEEDED"}, "d2-1", base="first", extra=HEALTHY),
    "refused by the gate": Story(_deploy("d2", budget=Budget(max_size_bytes=1)), {"d2": "REJECTED"}, "d1-1", base="first"),
    "fails to build": Story(_deploy("d2", "broken"), {"d2": "REJECTED"}, "d1-1", base="first"),
    "does not load": Story(_deploy("unloadable"), {"unloadable": "FAILED"}, "d1-1", base="first"),
    "unhealthy": Story(_deploy("d2", probation_s=3000.0), {"d2": "FAILED"}, "d1-1", base="first", extra=HEALTH_FAILS),
    "cancelled download": Story(_cancel_download, {"d2": "CANCELED"}, "d1-1", base="first"),
    "cancelled trial": Story(_cancel_trial, {"d2": "FAILED"}, "d1-1", base="first"),
    "superseded download": Story(_supersede, {"d2": "SUPERSEDED", "d3": "SUCCEEDED"}, "d3-1", base="first"),
    "superseded trial": Story(_supersede_trial, {"d2": "FAILED", "d3": "SUCCEEDED"}, "d3-1", base="first"),
    "rolled back by the owner": Story(_roll_back, {}, "d1-1", base="update"),
    "released by the owner": Story(_release, {"d2": "SUCCEEDED"}, "d2-2", base="rolled back by the owner", begins="SUCCEEDED"),
    "wanted twice": Story(_revise, {"d1": "SUCCEEDED"}, "d1-1"),
    "by a delta": Story(_deploy_by_delta, {"d2": "SUCCEEDED"}, "d2-1", base="first"),
    "a new runtime": Story(_new_runtime, {"d1": "SUCCEEDED"}, "d1-2", base="first", runtime="2", begins="SUCCEEDED"),
    "profiled": Story(_profile, {}, "d1-1", base="first"),
    "removed": Story(lambda ground: ground.want(), {}, None, base="update"),
}


def is_over(ground: Ground, story: Story) -> bool:
    """Whether everything that was ordered has come to an end, and the agent has nothing left to do or to say."""
    for deployment in story.ends:
        states = ground.states(deployment)
        if not states or states[-1] not in TERMINAL_STATES:
            return False
    if not story.ends and running(ground.state) != story.runs:
        return False
    return ground.is_at_rest()


def running(state: Path) -> str | None:
    """The engine folder that the application would open."""
    link = state / "models" / "surface" / "current"
    return link.resolve().name if link.is_symlink() else None
