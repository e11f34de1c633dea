"""The layers: imports run one way, and what stays in memory on an idle board is small."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = frozenset({
    "numpy", "onnx", "onnxruntime", "cryptography", "tuf", "securesystemslib", "sqlalchemy", "rich", "click", "PIL", "amqtt",
    "tensorrt", "pycuda", "torch",
})  # fmt: skip

# What the daemon may import of the other layers; its own package is added when it is there.
DAEMON_SAFE = [
    "edgewright", "edgewright.core", "edgewright.core.errors", "edgewright.core.digest", "edgewright.core.files",
    "edgewright.core.artifact", "edgewright.core.budget", "edgewright.core.measurement", "edgewright.core.nearest",
    "edgewright.core.toml", "edgewright.core.plugins", "edgewright.core.statistics", "edgewright.core.histogram",
    "edgewright.pipeline", "edgewright.pipeline.child",
]  # fmt: skip


def modules_below(project_root: Path, package: str) -> list[str]:
    """Every module of `package`, found as files: nothing is imported to find them."""
    folder = project_root / package.replace(".", "/")
    names = sorted(path.relative_to(project_root).with_suffix("").as_posix().replace("/", ".") for path in folder.rglob("*.py"))
    return [f"edgewright.{name.removesuffix('.__init__')}" for name in names]


def loaded_by(*modules: str) -> set[str]:
    """The top-level names in `sys.modules` of a fresh interpreter that imported `modules`."""
    code = "import importlib, json, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-I", "-c", code, *modules], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_the_check_sees_what_is_heavy() -> None:
    """A check that never finds anything would prove nothing."""
    assert "numpy" in loaded_by("edgewright.core.arrays") & HEAVY


def test_what_the_daemon_imports_of_other_layers_is_light() -> None:
    assert loaded_by(*DAEMON_SAFE) & HEAVY == set()


def test_the_wire_is_light(project_root: Path) -> None:
    assert loaded_by(*modules_below(project_root, "core.wire")) & HEAVY == set()


def test_the_idle_daemon_is_light(project_root: Path) -> None:
    modules = [name for name in modules_below(project_root, "agent") if not name.endswith("__main__")]
    if modules == ["edgewright.agent"]:
        pytest.skip("the agent has no modules yet")

    assert loaded_by(*modules) & HEAVY == set()


@pytest.mark.parametrize(
    "package", ["profiling", "engines", "calibration", "compression", "distillation", "pipeline", "agent", "controller", "cli", "systemd"]
)
def test_a_package_alone_imports_nothing_heavy(package: str) -> None:
    assert loaded_by(f"edgewright.{package}") & HEAVY == set()


def test_the_import_contracts_hold(project_root: Path) -> None:
    pytest.importorskip("importlinter")
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"

    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=project_root, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_bindings_to_accelerators_are_imported_inside_functions(project_root: Path) -> None:
    """A missing or broken driver must be an answer of one backend, not a failure to import the program."""
    forbidden = {"tensorrt", "tensorrt_rtx", "pycuda", "onnxruntime", "torch", "pynvml"}
    found = []
    for package in ("core", "profiling", "engines", "calibration", "compression", "distillation", "pipeline", "agent", "controller", "cli"):
        for path in sorted((project_root / package).rglob("*.py")):
            found += [f"{path.relative_to(project_root)}: {name}" for name in top_level_imports(path) if name.partition(".")[0] in forbidden]

    # The one folder that is PyTorch's; what imports it stands inside functions, as the next test proves.
    assert [entry for entry in found if not entry.startswith("distillation/training/")] == []
    assert all(entry.endswith(("torch", "torch.nn")) for entry in found)


def test_everything_but_the_training_can_be_imported_without_pytorch(project_root: Path) -> None:
    names = [name for package in ("distillation", "pipeline", "cli") for name in modules_below(project_root, package)]
    modules = [name for name in names if ".training" not in name]

    assert "torch" not in loaded_by(*modules)
    assert "edgewright.distillation.training.trainer" in {name for name in names if ".training" in name}


def top_level_imports(path: Path) -> list[str]:
    """The absolute imports that run when the module is imported; those of `if TYPE_CHECKING:` do not run."""
    names: list[str] = []
    pending: list[ast.stmt] = list(ast.parse(path.read_text("utf-8")).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.append(node.module or "")
        elif isinstance(node, ast.If | ast.Try) and "TYPE_CHECKING" not in ast.unparse(node).partition("\n")[0]:
            pending += [child for child in ast.walk(node) if isinstance(child, ast.Import | ast.ImportFrom)]
    return names


def test_onnxruntime_is_loaded_in_one_place_where_its_telemetry_is_switched_off(project_root: Path) -> None:
    packages = ["core", "profiling", "engines", "calibration", "compression", "distillation", "pipeline", "agent", "controller", "cli", "examples"]
    loading = {
        path.relative_to(project_root).as_posix()
        for package in packages
        for path in (project_root / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(alias.name.partition(".")[0] == "onnxruntime" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").partition(".")[0] == "onnxruntime")
    }

    assert loading == {"engines/ort/library.py"}


def test_a_controller_without_its_page_needs_none_of_the_page_s_libraries(project_root: Path) -> None:
    modules = [name for name in modules_below(project_root, "controller") if ".web" not in name]

    assert loaded_by(*modules) & {"starlette", "jinja2", "uvicorn", "prometheus_client"} == set()
