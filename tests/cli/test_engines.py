from __future__ import annotations

import json

import pytest


@pytest.fixture
def engine(edgewright, tiny_classifier, tmp_path):
    assert edgewright("build", tiny_classifier, "--out", tmp_path / "engine").status == 0
    return tmp_path / "engine"


def test_check_tells_what_an_engine_is(edgewright, engine):
    ran = edgewright("engines", "check", engine, "--json")

    assert ran.status == 0
    assert ran.json["manifest"]["backend"] == "onnxruntime"
    assert len(ran.json["seals"]) == 1
    assert ran.json["manifest"]["fingerprint"] in edgewright("engines", "check", engine).out


def test_check_refuses_an_engine_that_nobody_here_built(edgewright, engine):
    (engine / "manifest.sig").unlink()

    assert edgewright("engines", "check", engine, "--json").code == "engine-untrusted"


def test_sign_adds_the_roles_seal(edgewright, engine, tmp_path):
    fleet = tmp_path / "fleet"
    edgewright("fleet", "keys", "init", "--state", fleet)

    assert edgewright("engines", "sign", engine, "--state", fleet).status == 0
    assert len(edgewright("engines", "check", engine, "--json").json["seals"]) == 2


def test_sign_signs_nothing_that_was_not_built_here(edgewright, engine, tmp_path):
    fleet = tmp_path / "fleet"
    edgewright("fleet", "keys", "init", "--state", fleet)
    (engine / "model.onnx").write_bytes(b"other")

    ran = edgewright("engines", "sign", engine, "--state", fleet)

    assert ran.status == 1
    assert "engine-unusable" in ran.err


@pytest.fixture
def enrolled(edgewright, tmp_path):
    """The configuration of a device that takes signed engines, and its fleet's state."""
    fleet, out, state = tmp_path / "fleet", tmp_path / "enrolled", tmp_path / "device-state"
    edgewright("fleet", "keys", "init", "--state", fleet)
    assert edgewright("fleet", "enroll", "board", "--state", fleet, "--out", out, "--device-state", state).status == 0
    with (out / "agent.toml").open("a") as file:
        file.write("\n[optimize]\naccept_signed_engines = true\n")
    return out / "agent.toml", fleet


def test_a_signed_engine_is_imported_and_an_unsigned_one_is_not(edgewright, engine, enrolled, tmp_path):
    config, fleet = enrolled
    before = edgewright("engines", "import", engine, "--config", config, "--json")
    edgewright("engines", "sign", engine, "--state", fleet)
    ran = edgewright("engines", "import", engine, "--config", config, "--json")

    assert before.code == "engine-untrusted"
    assert ran.status == 0
    assert (tmp_path / "device-state" / "cache" / "engines" / ran.json["fingerprint"] / "manifest.sig").is_file()
    assert ran.json["fingerprint"] in edgewright("engines", "import", engine, "--config", config).out


def test_a_device_takes_no_engines_unless_its_owner_says_so(edgewright, engine, enrolled):
    config, fleet = enrolled
    edgewright("engines", "sign", engine, "--state", fleet)
    config.write_text(config.read_text().replace("accept_signed_engines = true", ""))

    assert edgewright("engines", "import", engine, "--config", config, "--json").code == "engine-untrusted"


def test_an_engine_of_onnxruntime_has_no_weights_to_replace(edgewright, engine, tiny_classifier, tmp_path):
    ran = edgewright("engines", "refit", engine, tiny_classifier, "--out", tmp_path / "refitted", "--json")

    assert (ran.status, ran.code) == (1, "option-unsupported")
    assert not (tmp_path / "refitted").exists()


def test_timings_are_exported_as_they_are(edgewright, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "tensorrt.timing.cache").write_bytes(b"timings")

    assert edgewright("engines", "export-timings", "tensorrt", tmp_path / "out", "--cache", tmp_path / "cache").status == 0
    assert (tmp_path / "out").read_bytes() == b"timings"


def test_without_timings_there_is_nothing_to_export(edgewright, tmp_path):
    ran = edgewright("engines", "export-timings", "tensorrt", tmp_path / "out", "--cache", tmp_path)

    assert ran.status == 1
    assert "timing-cache-missing" in ran.err


def test_two_engines_are_measured_side_by_side(edgewright, engine, tiny_classifier):
    ran = edgewright("bench", tiny_classifier, engine, "--seconds", "0.05", "--json")

    assert ran.status == 0
    answer = ran.json
    assert [entry["name"] for entry in answer["engines"]] == [str(tiny_classifier), str(engine)]
    first, second = (entry["latency_ms"] for entry in answer["engines"])
    assert answer["ratio"]["by_median"] == pytest.approx(first["p50"] / second["p50"])
    assert answer["ratio"]["by_mean"] == pytest.approx(first["mean"] / second["mean"])


def test_people_read_the_ratio(edgewright, engine, tiny_classifier):
    out = edgewright("bench", tiny_classifier, engine, "--seconds", "0.05").out

    assert "times as fast as" in out.splitlines()[-1]


@pytest.mark.parametrize("count", [1, 2])
def test_layers_are_told_on_request(edgewright, engine, tiny_classifier, count):
    targets = [tiny_classifier, engine][:count]

    answer = json.loads(edgewright("bench", *targets, "--seconds", "0.05", "--layers", "--json").out)

    for entry in answer["engines"] if count == 2 else [answer]:
        assert entry["layers"]
        assert {layer["provider"] for layer in entry["layers"]} == {"CPUExecutionProvider"}
    assert "ran on" in edgewright("bench", *targets, "--seconds", "0.05", "--layers").out


def test_free_axes_print_a_profile_that_works_when_it_is_pasted(edgewright, models, tmp_path):
    proto = models.model([models.node("Relu", ["x"], ["y"])], {"x": ["N", "length"]}, {"y": None})
    path = models.save(proto, tmp_path / "m.onnx")

    ran = edgewright("bench", path, "--seconds", "0.05")
    path.with_suffix(".toml").write_text("\n".join(line for line in ran.err.splitlines() if line.startswith(("[", "shape"))))

    assert ran.status == 1
    assert edgewright("bench", path, "--seconds", "0.05").status == 0


def test_a_detector_with_suppression_in_its_graph_goes_all_the_way(edgewright, models, tmp_path):
    """Several inputs, several outputs, one of them as long as the data say: build, bench, and the pipeline with its gate."""
    import numpy as np

    path = models.save(models.detector(), tmp_path / "detector.onnx")
    random = np.random.default_rng(5)
    np.savez(tmp_path / "data.npz", features=random.normal(0, 1, (24, 16)).astype(np.float32), gain=np.full((24, 1), 2, np.float32))
    (tmp_path / "budget.toml").write_text("min_sqnr_db = 15\n")

    assert edgewright("build", path, "--out", tmp_path / "built").status == 0
    assert edgewright("bench", tmp_path / "built", "--calibration", tmp_path / "data.npz", "--seconds", "0.05").status == 0
    options = ["--budget", tmp_path / "budget.toml", "--seconds", "0.05", "--json"]
    ran = edgewright("optimize", path, "--calibration", tmp_path / "data.npz", "--out", tmp_path / "best", *options)

    assert ran.status == 0, ran.err
    assert ran.json["verdict"] == "accepted"
    assert set(ran.json["candidates"][0]["fidelity"]["outputs"]) == {"boxes", "scores"}
