"""ONNX Runtime's telemetry writes a file of its session to the folder for temporary files as soon as it loads: that is what is looked for."""

import os
import subprocess
import sys

import pytest

TRACE = ".ses"
TOLD = {"CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS"}


def files_left_by(program, folder):
    """The temporary files of a process that nobody has told anything about telemetry."""
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in TOLD} | {"TMPDIR": str(folder), "PYTHONSAFEPATH": "1"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=120)
    return [path.name for path in folder.iterdir()]


def test_the_runtime_is_loaded_with_its_telemetry_off(tmp_path):
    if TRACE not in files_left_by("import onnxruntime", tmp_path / "control"):
        pytest.skip("this build of ONNX Runtime has no telemetry")

    program = "from edgewright.engines.discovery import load_backend; assert load_backend('onnxruntime').unavailable() is None"

    assert files_left_by(program, tmp_path / "ours") == []
