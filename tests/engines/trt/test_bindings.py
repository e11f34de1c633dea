"""The real Python bindings of each release, on stub libraries: the names they have, and our classes as their subclasses.

Each release is a process of its own: two of them cannot share one. `make bindings` fetches them; without, these tests are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RELEASES = ("8.6", "10.3", "10.13", "10.16", "11.0", "11.4")
FLAGGED = ("8.6", "10.3", "10.13", "10.16")
DUMPS = {"8.6": "8.6.1.json"}

PRELUDE = """
import ctypes, json, sys
from pathlib import Path
for library in sorted(Path(sys.argv[1]).glob("lib*.so.*")):
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
sys.path.insert(0, sys.argv[1])
import tensorrt_bindings as trt
from edgewright.engines.trt.binding import inspect_module
binding = inspect_module(trt, "tensorrt")
def answer(**values): print(json.dumps(values))
"""


@pytest.fixture
def with_release(bindings_folder):
    """Run code in a process that has the real bindings of a release as `trt` and `binding`; returns what it answers."""

    def run(release, code):
        folder = bindings_folder / release
        if not (folder / "ready").is_file():
            pytest.skip(f"the bindings of TensorRT {release} are not at {folder}: `make bindings` fetches them (x86-64)")
        done = subprocess.run([sys.executable, "-I", "-c", PRELUDE + code, str(folder)], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.mark.parametrize("release", RELEASES)
def test_the_table_of_names_is_what_the_real_bindings_have(release, bindings_folder, project_root, fake_tensorrt):
    folder = bindings_folder / release
    if not (folder / "ready").is_file():
        pytest.skip(f"the bindings of TensorRT {release} are not at {folder}: `make bindings` fetches them (x86-64)")
    libraries = [str(path) for path in sorted(folder.glob("lib*.so.*"))]
    program = str(project_root / "tests" / "fakes" / "tensorrt_names.py")
    environment = {**os.environ, "PYTHONPATH": str(folder)}

    done = subprocess.run([sys.executable, program, "tensorrt_bindings", *libraries], capture_output=True, env=environment, timeout=120, check=True)

    assert fake_tensorrt.API[release] == json.loads(done.stdout)


@pytest.mark.parametrize("release", RELEASES)
def test_the_table_of_names_agrees_with_the_published_dumps(release, fake_tensorrt, shared_data):
    path = Path(shared_data).parent / "facts" / "tensorrt-api" / DUMPS.get(release, f"{release}.json")
    if not path.is_file():
        pytest.skip(f"there is no dump at {path}")
    dump = json.loads(path.read_text("utf-8"))

    for name, attributes in fake_tensorrt.API[release]["classes"].items():
        dumped = {attribute for attribute in dump["classes"][name] if not attribute.startswith("_")}
        assert set(attributes) <= dumped | set(dump["enums"].get(f"{name}.Severity", ())), name
    for name, members in fake_tensorrt.API[release]["enums"].items():
        assert set(members) == set(dump["enums"][name]), name


@pytest.mark.parametrize("release", RELEASES)
def test_features_are_told_as_the_release_has_them(release, with_release):
    found = with_release(
        release,
        "answer(flags=binding.has_flags, monitor=binding.has_progress_monitor, strong=binding.has_strong_typing, "
        "refit=binding.has_refit, cc=binding.has_compute_capabilities)",
    )

    is_old = release == "8.6"
    assert found == {"flags": release in FLAGGED, "monitor": not is_old, "strong": not is_old, "refit": not is_old, "cc": False}


@pytest.mark.parametrize("release", FLAGGED)
@pytest.mark.parametrize("algorithm", ["EntropyCalibration2", "MinMaxCalibration"])
def test_our_calibrator_is_one_of_theirs_and_answers_from_the_cache(release, algorithm, with_release):
    found = with_release(
        release,
        f"""
from edgewright.engines.trt.calibrator import make_calibrator
cache = b"TRT-1-{algorithm}\\nx: 3c008912\\n"
calibrator = make_calibrator(binding, cache=cache, batches=None, batch_size=3, uploads=None)
base = trt.IInt8EntropyCalibrator2 if "{algorithm}" == "EntropyCalibration2" else trt.IInt8MinMaxCalibrator
answer(is_one=isinstance(calibrator, base), size=calibrator.get_batch_size(), batch=calibrator.get_batch(["x"]),
       cache=calibrator.read_calibration_cache().decode(), algorithm=str(calibrator.get_algorithm()))
""",
    )

    numbers = {"8.6": 8601, "10.3": 100300, "10.13": 101303, "10.16": 101601}
    assert found["is_one"]
    assert (found["size"], found["batch"]) == (3, None)
    assert found["cache"] == f"TRT-{numbers[release]}-{algorithm}\nx: 3c008912\n"
    assert ("ENTROPY_CALIBRATION_2" if algorithm == "EntropyCalibration2" else "MINMAX_CALIBRATION") in found["algorithm"]


@pytest.mark.parametrize("release", FLAGGED)
def test_our_calibrator_feeds_addresses_and_keeps_what_is_written(release, with_release):
    found = with_release(
        release,
        """
import numpy as np
from edgewright.engines.trt.calibrator import make_calibrator
class Uploads:
    seen = []
    def upload(self, name, values):
        self.seen.append((name, values.ravel()[:2].tolist()))
        return 4096 + len(self.seen)
batches = iter([{"x": np.float32([[1, 2]]), "y": np.float32([[3, 4]])}, {"x": np.float32([[5, 6]]), "y": np.float32([[7, 8]])}])
calibrator = make_calibrator(binding, cache=None, batches=batches, batch_size=1, uploads=Uploads())
pointers = [calibrator.get_batch(["y", "x"]) for _ in range(3)]
none = calibrator.read_calibration_cache()
calibrator.write_calibration_cache(memoryview(b"TRT-1-x"))
answer(pointers=pointers, none=none, written=calibrator.written.decode(), seen=Uploads.seen)
""",
    )

    assert found["pointers"] == [[4097, 4098], [4099, 4100], None]
    assert found["seen"] == [["y", [3, 4]], ["x", [1, 2]], ["y", [7, 8]], ["x", [5, 6]]]
    assert (found["none"], found["written"]) == (None, "TRT-1-x")


@pytest.mark.parametrize("release", [release for release in RELEASES if release != "8.6"])
def test_our_monitor_is_one_of_theirs(release, with_release):
    found = with_release(
        release,
        """
from edgewright.engines.trt.progress import BuildProgress, make_monitor
shares = []
monitor = make_monitor(binding, BuildProgress(lambda share, note: shares.append(share)))
monitor.phase_start("all", None, 2)
goes_on = monitor.step_complete("all", 0)
monitor.phase_finish("all")
def stop(share, note): raise KeyboardInterrupt
stopped = make_monitor(binding, BuildProgress(stop))
stopped.phase_start("all", None, 2)
answer(is_one=isinstance(monitor, trt.IProgressMonitor), goes_on=goes_on, stops=not stopped.step_complete("all", 0), shares=shares)
""",
    )

    assert found == {"is_one": True, "goes_on": True, "stops": True, "shares": [0.5]}


@pytest.mark.parametrize("release", RELEASES)
def test_our_logger_allocator_and_profiler_are_theirs(release, with_release):
    found = with_release(
        release,
        """
from edgewright.engines.trt.bound import make_allocator
from edgewright.engines.trt.log import make_logger
from edgewright.engines.trt.runner import _make_profiler
class Device:
    def allocate(self, size): return 1000 + size
lines = []
logger = make_logger(trt, lines.append)
severity = trt.ILogger.Severity
logger.log(severity.ERROR, "broken"); logger.log(severity.INFO, "fine"); logger.log(severity.VERBOSE, "details")
allocator = make_allocator(binding, Device())
grown = [allocator.reallocate_output("y", None, size, 256) for size in (10, 5, 20)]
allocator.notify_shape("y", trt.Dims([2, 3]))
profiler = _make_profiler(binding)
profiler.report_layer_time("conv", 0.25); profiler.report_layer_time("conv", 0.25)
answer(logger=isinstance(logger, trt.ILogger), kept=list(logger.kept), lines=lines, allocator=isinstance(allocator, trt.IOutputAllocator),
       grown=grown, shape=allocator.shape, profiler=isinstance(profiler, trt.IProfiler), totals=profiler.totals)
""",
    )

    assert found == {
        "logger": True, "kept": ["broken"], "lines": ["broken", "fine"], "allocator": True, "grown": [1010, 1010, 1020], "shape": [2, 3],
        "profiler": True, "totals": {"conv": 0.5},
    }  # fmt: skip


@pytest.mark.parametrize("release", RELEASES)
def test_bindings_without_a_library_say_that_the_device_is_unfit(release, with_release):
    """A stub builder is what the bindings see when CUDA does not start: a null pointer."""
    found = with_release(
        release,
        """
from edgewright.core.errors import Unfit
from edgewright.engines.trt.log import make_logger
from edgewright.engines.trt.network import new_builder
try:
    new_builder(binding, make_logger(trt))
except Unfit as error:
    answer(code=error.code)
""",
    )

    assert found == {"code": "backend-unavailable"}
