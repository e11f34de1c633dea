"""Small wheels are installed for real, by pip, without a network."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest
from edgewright.core.errors import Rejected
from edgewright.pipeline.installing import BASE_NAME, install
from edgewright.pipeline.request import InstallRequest

STARTS = "from edgewright import __version__\nprint(__version__)\n"


def write_wheel(folder: Path, version: str = "9.1.0", says: str = "9.1.0", entry: str = STARTS, tag: str = "py3-none-any") -> None:
    """A wheel of something that calls itself edgewright, and starts as `entry` has it."""
    folder.mkdir(exist_ok=True)
    info = f"edgewright-{version}.dist-info"
    files = {
        "edgewright/__init__.py": f'__version__ = "{says}"\n',
        "edgewright/agent/__init__.py": "",
        "edgewright/agent/__main__.py": entry,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: edgewright\nVersion: {version}\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    with zipfile.ZipFile(folder / f"edgewright-{version}-{tag}.whl", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"]))


def run(tmp_path: Path) -> Path:
    out = tmp_path / "agent"
    install(InstallRequest(wheels=str(tmp_path / "wheels"), out=str(out), config="agent.toml", version="9.1.0"), lambda *_: None)
    return out


def test_a_version_stands_beside_ours_and_takes_what_it_does_not_bring_from_the_installation(tmp_path: Path) -> None:
    write_wheel(tmp_path / "wheels")
    out = run(tmp_path)
    moved = out.rename(tmp_path / "slot")
    code = "import edgewright, msgspec; print(edgewright.__version__, edgewright.__file__, msgspec.__file__)"
    said = subprocess.run([moved / "bin" / "python", "-I", "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout.split()

    assert said[0] == "9.1.0"
    assert Path(said[1]).is_relative_to(moved), "it is itself, wherever its folder is moved to"
    assert not Path(said[2]).is_relative_to(moved)
    (base,) = moved.rglob(BASE_NAME)
    assert "addsitedir" in base.read_text("utf-8")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"says": "9.0.0"}, "it is version '9.0.0'"),
        ({"entry": "import a_module_that_is_not_here"}, "a_module_that_is_not_here"),
        ({"tag": "cp39-cp39-win_amd64"}, "not a supported wheel"),
    ],
)
def test_what_does_not_start_or_fit_here_is_refused(tmp_path: Path, fields: dict[str, str], words: str) -> None:
    write_wheel(tmp_path / "wheels", **fields)
    with pytest.raises(Rejected) as refused:
        run(tmp_path)

    assert refused.value.code == "package-unusable"
    assert words in refused.value.message
