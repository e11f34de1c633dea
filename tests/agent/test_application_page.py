"""docs/application.md is what the agent really leaves behind, and its code runs on it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from edgewright.agent.config import config_from_toml
from edgewright.agent.slots import ModelSlots, Slot
from edgewright.engines.backends.onnxruntime import BACKEND
from edgewright.engines.base import BuildOptions
from edgewright.engines.device import engine_key
from edgewright.engines.fingerprint import fingerprint
from edgewright.engines.manifest import VERSION, Manifest, list_files, read_manifest, write_manifest
from edgewright.engines.provenance import device_signer
from onnx import TensorProto, helper, save_model

MODEL = "surface-classifier"


@pytest.fixture(scope="module")
def page(project_root: Path) -> str:
    return (project_root / "docs" / "application.md").read_text("utf-8")


def block(page: str, language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_table_has_every_field_of_the_manifest_in_its_order(page: str) -> None:
    table = page.partition("## manifest.json")[2].partition("```json")[0]

    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [field.name for field in msgspec.structs.fields(Manifest)]
    assert f"Version of this format: {VERSION} |" in table


def test_the_example_is_a_manifest(page: str) -> None:
    manifest = msgspec.json.decode(block(page, "json"), type=Manifest)

    assert (manifest.version, manifest.model, manifest.engine in manifest.files) == (VERSION, MODEL, True)
    assert set(msgspec.json.decode(block(page, "json"))) == {field.name for field in msgspec.structs.fields(Manifest)}


def test_the_configuration_is_one(page: str, tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('fleet = "f"\ndevice = "d"\nbroker.host = "h"\n' + block(page, "toml"), "utf-8")

    assert list(config_from_toml(tmp_path / "agent.toml").models) == [MODEL]


def activated(state: Path) -> ModelSlots:
    """A state folder in which a real engine of the model is active."""
    built, model = state / "work" / "engine", state / "work" / "model.onnx"
    built.mkdir(parents=True)
    shape = [1, 3, 96, 96]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("input", "output")]
    graph = helper.make_graph([helper.make_node("Relu", ["input"], ["output"])], "relu", tensors[:1], tensors[1:])
    save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(model))
    engine = BACKEND.build(model, built, BuildOptions(), lambda _share, _note: None)
    key = engine_key(model, "", "onnxruntime", BACKEND.capabilities(), BuildOptions())
    fields: dict[str, Any] = {"model": MODEL, "deployment": "d1", "model_version": "2.0", "card": None, "fingerprint": fingerprint(key), "key": key}
    write_manifest(
        built,
        Manifest(
            engine=engine.path.name,
            backend=engine.backend,
            backend_version=engine.backend_version,
            provider=engine.provider,
            files=list_files(built),
            **fields,
        ),
        device_signer(state),
    )
    slots = ModelSlots(state, MODEL)
    slots.stage(built, "d1-1")
    slots.begin_trial(Slot(folder="d1-1", deployment="d1", version="2.0", backend=engine.backend, engine_digest="e", since_s=1.0))
    return slots


def test_the_code_runs_on_what_the_agent_leaves(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    activated(tmp_path)
    monkeypatch.setenv("EDGEWRIGHT_STATE", str(tmp_path))
    exec(compile(block(page, "python"), "docs/application.md", "exec"), {"np": np})

    assert capsys.readouterr().out == "2.0 CPUExecutionProvider ['output']\n"


def test_the_link_and_the_modes_are_as_it_says(tmp_path: Path) -> None:
    slots = activated(tmp_path)
    link = tmp_path / "models" / MODEL / "current"

    assert str(link.readlink()) == "engines/d1-1"
    assert {path.stat().st_mode & 0o777 for path in link.iterdir()} == {0o644}
    assert link.resolve().stat().st_mode & 0o777 == 0o755
    assert read_manifest(link).model == MODEL
    slots.take_out("d1-1")
    assert not link.is_symlink()
