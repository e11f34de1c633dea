"""Packaging: what is listed is what is there, the wheel holds exactly that, and our names harm nobody's."""

from __future__ import annotations

import configparser
import fnmatch
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

NOT_PACKAGES = {"tests", "benchmarks", "docs", "examples", "build", "dist"}


@pytest.fixture(scope="module")
def setup(project_root: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(project_root / "setup.cfg", encoding="utf-8")
    return parser


@pytest.fixture(scope="module")
def packages(setup: configparser.ConfigParser) -> list[str]:
    return setup["options"]["packages"].split()


def folder_of(package: str, root: Path) -> Path:
    return root.joinpath(*package.split(".")[1:])


def test_every_folder_with_an_init_is_listed(project_root: Path, packages: list[str]) -> None:
    found = set()
    for folder, children, files in os.walk(project_root):
        place = Path(folder).relative_to(project_root)
        children[:] = [child for child in children if not child.startswith(".") and not (place == Path() and child in NOT_PACKAGES)]
        if "__init__.py" in files:
            found.add(".".join(("edgewright", *place.parts)))

    assert sorted(found) == sorted(packages)


def test_no_package_is_listed_twice(packages: list[str]) -> None:
    assert len(set(packages)) == len(packages)


def test_every_pattern_of_package_data_matches_a_file(setup: configparser.ConfigParser, project_root: Path) -> None:
    missing = [
        f"{package}: {pattern}"
        for package, patterns in setup["options.package_data"].items()
        for pattern in patterns.split()
        if package != "edgewright.systemd" and not list(folder_of(package, project_root).glob(pattern))
    ]

    assert missing == []


def expected_files(setup: configparser.ConfigParser, packages: list[str], root: Path) -> set[str]:
    data = {package: patterns.split() for package, patterns in setup["options.package_data"].items()}
    expected = set()
    for package in packages:
        for path in folder_of(package, root).iterdir():
            if path.is_file() and any(fnmatch.fnmatch(path.name, pattern) for pattern in ["*.py", *data.get(package, [])]):
                expected.add(f"{package.replace('.', '/')}/{path.name}")
    return expected


def test_the_wheel_holds_exactly_the_packages_and_their_data(
    setup: configparser.ConfigParser, packages: list[str], project_root: Path, tmp_path: Path
) -> None:
    if tuple(map(int, _setuptools_version().split(".")[:2])) < (77, 0):
        pytest.skip(f"setuptools {_setuptools_version()} cannot build the wheel; pip install 'setuptools>=77'")
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "tests", "docs", "benchmarks")
    shutil.copytree(project_root, tmp_path / "source", ignore=ignored)
    (tmp_path / "wheel").mkdir()
    code = "import sys, setuptools.build_meta as b; b.build_wheel(sys.argv[1])"

    done = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-c", code, str(tmp_path / "wheel")],
        cwd=tmp_path / "source",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "wheel").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == expected_files(setup, packages, tmp_path / "source")


def _setuptools_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("setuptools")
    except PackageNotFoundError:
        return "0.0"


# --- PEP 784: the standard library has a package called compression since Python 3.14 ----------------------------------------------------


@pytest.fixture
def second_compression(tmp_path: Path) -> Path:
    """A folder with another package called `compression`, as Python 3.14's standard library is one."""
    for name in ("_common", "zstd"):
        (tmp_path / "compression" / name).mkdir(parents=True)
        (tmp_path / "compression" / name / "__init__.py").write_text(f"NAME = {name!r}\n")
    (tmp_path / "compression" / "__init__.py").touch()
    return tmp_path


def run(code: str, *path: Path) -> None:
    """Run `code` in a fresh interpreter with `path` first on `sys.path`."""
    start = f"import sys\nsys.path[:0] = {[str(folder) for folder in path]!r}\n"
    done = subprocess.run([sys.executable, "-I", "-c", start + textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_checkout_first_on_the_path_hides_nothing_of_another_compression(project_root: Path, second_compression: Path) -> None:
    code = """
        import compression, compression._common, compression.zstd
        assert compression._common.NAME == "_common" and compression.zstd.NAME == "zstd"
        assert compression.__file__.startswith(sys.path[0])
    """

    run(code, project_root, second_compression)


def test_another_compression_first_on_the_path_hides_nothing_of_ours(project_root: Path, second_compression: Path) -> None:
    code = """
        import compression.zstd
        import edgewright.compression.passes
        assert compression.__file__.startswith(sys.path[0])
        assert edgewright.compression.__file__ != compression.__file__
    """

    run(code, second_compression, project_root)


def test_a_checkout_first_on_the_path_leaves_the_standard_library_s_archives_working(project_root: Path) -> None:
    run("import bz2, gzip, lzma, shutil, tarfile, zipfile, zlib", project_root)


def test_the_installed_package_is_this_checkout(project_root: Path) -> None:
    import edgewright

    assert Path(edgewright.__file__).resolve().parent == project_root


def test_importing_the_package_shows_its_version_as_it_is_packaged(setup: configparser.ConfigParser) -> None:
    import edgewright

    assert edgewright.__version__ == setup["metadata"]["version"]


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    import edgewright

    with pytest.raises(AttributeError, match="opne"):
        _ = edgewright.opne
