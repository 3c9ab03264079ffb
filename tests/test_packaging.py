"""The repository root is the package: nothing of it may be missing from a wheel, and nothing else may be in one."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NO_PACKAGES = {"build", "dist", "runs", "tests"}
TEXTS = {".md", ".py"}


def project_files() -> list[Path]:
    """Relative paths of the files that git tracks or would take, or a skip where this is no git checkout."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout to tell the project's files from what was made beside them")
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted(Path(name) for name in set(listed) if name and (ROOT / name).is_file())


def packages_found() -> list[str]:
    """`offramp` and a dotted name for every folder with an `__init__.py`."""
    folders = [
        path for path in ROOT.iterdir() if path.is_dir() and path.name not in NO_PACKAGES and path.name[0] != "."
    ]
    inits = [path for folder in folders for path in folder.rglob("__init__.py")]
    return sorted(["offramp", *(".".join(("offramp", *path.parent.relative_to(ROOT).parts)) for path in inits)])


def test_the_packages_list_names_every_folder_with_an_init():
    assert PROJECT["tool"]["setuptools"]["packages"] == packages_found()


def test_every_folder_with_modules_has_an_init():
    folders = {path.parent for path in project_files() if path.suffix == ".py" and path.parts[0] not in NO_PACKAGES}
    assert [str(f) for f in sorted(folders) if not (ROOT / f / "__init__.py").exists()] == []


def test_nothing_else_lies_at_the_root_as_a_module():
    table = (
        (ROOT / "docs/design.md").read_text(encoding="utf-8").split("### Who may import whom", 1)[1].split("\n#", 1)[0]
    )
    rooms = {
        name
        for row in re.findall(r"^\| (`[^|]*) \|", table, flags=re.MULTILINE)
        for name in row.strip("`").split("`, `")
    }
    found = {path.stem for path in project_files() if path.suffix == ".py" and len(path.parts) == 1}
    assert {"errors", "storage", "cli", "pipeline", "manifest"} <= rooms
    assert sorted(found - rooms - {"__init__", "__main__"}) == [], (
        "give it a row in docs/design.md or move it into a room"
    )


def test_the_tests_are_no_package():
    assert not (ROOT / "tests/__init__.py").exists()


def test_the_version_stands_in_one_place_and_its_mirror():
    import offramp

    assert PROJECT["project"]["version"] == offramp.__version__


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for pin in pinned:
        (only,) = pin.specifier
        assert only.operator == "==", f"{pin} pins nothing"
        assert "+" not in only.version, f"{pin} exists on one kind of machine only"
    return {plain(pin.name): next(iter(pin.specifier)).version for pin in pinned}


def plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def test_every_dependency_is_pinned_within_its_range():
    pinned = pins()
    project = PROJECT["project"]
    wanted = [Requirement(text) for text in (*project["dependencies"], *project["optional-dependencies"]["dev"])]
    for need in wanted:
        assert need.specifier.contains(pinned[plain(need.name)]), f"constraints.txt is outside {need}"
    assert pinned["torch"] == "2.13.0"


def test_every_package_that_is_imported_is_declared():
    provided_by = {"sklearn": "scikit-learn", "PIL": "pillow", "google": "protobuf", "pysat": "python-sat"}
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *(text for name in extras if name != "dev" for text in extras[name])]
    declared = {plain(Requirement(text).name) for text in wanted}
    own = {"pytest_plugin.py": "pytest"}  # which loads it, or nothing does
    undeclared = set()
    for path in project_files():
        if path.suffix == ".py" and path.parts[0] not in NO_PACKAGES | {"benchmarks"}:
            for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module or ""]
                tops = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"offramp"}
                tops -= {own.get(path.as_posix())}
                undeclared |= {f"{path}: {top}" for top in tops if plain(provided_by.get(top, top)) not in declared}
    assert sorted(undeclared) == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel of the working tree, built without a network from a copy of nothing but the project's files."""
    folder = tmp_path_factory.mktemp("wheel")
    for path in project_files():
        (folder / "source" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, folder / "source" / path)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*pip, "--no-index", "--wheel-dir", str(folder), str(folder / "source")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (made,) = folder.glob("*.whl")
    return made


@pytest.mark.slow
def test_a_wheel_holds_every_module_and_data_file_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    shipped = set()
    for path in project_files():
        room = ".".join(("offramp", *path.parent.parts))
        at_root = len(path.parts) == 1
        if path.suffix == ".py":
            wanted = room in packages_found()
        elif at_root:
            wanted = path.name in PROJECT["tool"]["setuptools"]["package-data"]["offramp"]
        else:
            wanted = path.suffix not in TEXTS and path.parts[0] in {p.split(".")[1] for p in packages_found()[1:]}
        if wanted:
            shipped.add(f"offramp/{path.as_posix()}")
    assert sorted(shipped - held) == [], "missing from the wheel: add its kind to package-data in pyproject.toml"
    assert sorted(held - shipped) == [], "in the wheel, but no part of the package"


@pytest.mark.slow
def test_every_module_of_a_wheel_imports_outside_the_checkout(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import importlib, pkgutil, offramp\n"
        "print(offramp.__file__)\n"
        "for module in pkgutil.walk_packages(offramp.__path__, 'offramp.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
    )
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path / "elsewhere",
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[0] == str(tmp_path / "site/offramp/__init__.py")


@pytest.mark.slow
def test_a_wheel_installs_the_command_and_the_plugin_of_pytest(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("entry_points.txt"))
        text = archive.read(name).decode()
    assert "[console_scripts]\nofframp = offramp.cli:main" in text
    assert "[pytest11]\nofframp = offramp.pytest_plugin" in text
