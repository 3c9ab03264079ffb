"""Who may import whom: every import in the package is held to the table in docs/design.md, and `import` stays cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "coremltools", "litert_torch", "onnxruntime")
# Rooms of one folder each, `devices/boards` before `devices`; what is left at the root is a room by its own name.
FOLDERS = ("benchmarks", "devices.boards", "devices.synapse", "devices", "diagnostics", "export", "models", "quant")
FOLDERS = (*FOLDERS, "runtime")
# Reviewed: its Unpickler refuses every name but two inert classes (tests/test_models_data_cifar10.py).
PICKLE_READERS = {"models/data/cifar10.py"}


def sources() -> list[Path]:
    """Every module of the package, which is the repository but for its tests and what is made in it."""
    skipped = {"tests", "build", "dist", "runs"}
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name not in skipped and path.name[0] != "."]
    paths = [*ROOT.glob("*.py"), *(path for folder in folders for path in folder.rglob("*.py"))]
    kept = [path.relative_to(ROOT) for path in paths]
    assert len(kept) > 50
    return sorted(kept)


def allowed_imports() -> dict[str, set[str]]:
    """The rows of the table under "Who may import whom"."""
    text = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    section = text.split("### Who may import whom", 1)[1].split("\n#", 1)[0]
    rows = [line.strip("| \n").split("|") for line in section.splitlines() if line.startswith("| `")]
    words = [[set(part.replace("`", "").replace(",", " ").split()) for part in row] for row in rows]
    return {name: known - {"—"} for names, known in words for name in names}


def name_of(path: Path) -> str:
    """Dotted name inside the package: `quant/program.py` -> `quant.program`, `quant/__init__.py` -> `quant`."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(name: str) -> str:
    for folder in FOLDERS:
        if name == folder or name.startswith(folder + "."):
            return folder
    return name.partition(".")[0]


def imported_names(path: Path, text: str) -> list[tuple[int, str]]:
    """Line and dotted name inside the package of everything that a module imports from it, at whatever depth."""
    package = name_of(path).split(".") if path.name == "__init__.py" else name_of(path).split(".")[:-1]
    package = [part for part in package if part]
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            found += [(node.lineno, name.removeprefix("offramp").lstrip(".")) for name in names if is_own(name)]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                assert node.level - 1 <= len(package), f"{path}:{node.lineno}: goes above the package"
                base = package[: len(package) - node.level + 1] + (node.module or "").split(".")
            elif is_own(node.module or ""):
                base = (node.module or "").split(".")[1:]
            else:
                continue
            base = [part for part in base if part]
            # `from . import a` names a module; `from .a import b` is judged by the room of `.a`, `b` may be anything.
            found += [(node.lineno, ".".join([*base, alias.name])) for alias in node.names]
    return found


def is_own(name: str) -> bool:
    return name == "offramp" or name.startswith("offramp.")


def breaches(path: Path, text: str, allowed: dict[str, set[str]]) -> list[str]:
    room = room_of(name_of(path))
    known = allowed[room] | {room, "errors", "estimate", "storage", "c_compiler"}
    return [
        f"{path}:{line}: {room or 'the package'} imports {name}"
        for line, name in imported_names(path, text)
        if room_of(name) not in known and not name.startswith("__") and "all" not in known
    ]


def test_every_import_keeps_to_the_table_of_the_design():
    allowed = allowed_imports()
    missing = {room_of(name_of(path)) for path in sources()} - set(allowed) - {"", "__main__"}
    assert not missing, f"rooms without a row in docs/design.md: {sorted(missing)}"
    allowed |= {"": {"all"}, "__main__": {"cli"}}
    found = [line for path in sources() for line in breaches(path, (ROOT / path).read_text(encoding="utf-8"), allowed)]
    assert not found, "\n".join(found)


def test_the_table_has_no_circles_and_keeps_models_to_themselves():
    allowed = allowed_imports()
    for room in ("quant", "export", "runtime"):
        assert "models" not in allowed[room]
    done: set[str] = {"errors"}
    while left := {room: known - done for room, known in allowed.items() if room not in done and "all" not in known}:
        free = {room for room, known in left.items() if not known}
        assert free, f"these import each other: {left}"
        done |= free


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("quant/a.py", "from ..models.system import find_system"),
        ("quant/a.py", "from .. import models"),
        ("quant/a.py", "import offramp.runtime.session"),
        ("runtime/mil/a.py", "def f():\n    from ...pipeline import deploy"),
        ("devices/synapse/a.py", "from ..boards.host import Host"),
        ("models/__init__.py", "from ..quant import program"),
    ],
)
def test_a_breach_is_found_however_it_is_written(path, text):
    assert len(breaches(Path(path), text, allowed_imports())) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (
            "quant/a.py",
            "from ..errors import BadInput\nfrom . import program\nfrom .. import __version__\nimport torch",
        ),
        ("models/a.py", "from ..devices.synapse.cell import Cell"),
        ("runtime/mil/a.py", "from ...export.artifact import Artifact\nfrom ..session import Session"),
    ],
)
def test_what_the_table_allows_passes(path, text):
    assert breaches(Path(path), text, allowed_imports()) == []


@pytest.mark.parametrize("module", ["offramp", "offramp.cli"])
def test_importing_it_loads_no_heavy_package(module, tmp_path):
    (tmp_path / "offramp").symlink_to(ROOT, target_is_directory=True)
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & {set(HEAVY)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def dangers(text: str) -> list[tuple[int, str]]:
    """Line and name of each call that can run what a file or a user wrote."""
    tree = ast.parse(text)
    origin = {}  # local name -> where it comes from
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            origin |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            origin |= {alias.asname: alias.name for alias in node.names if alias.asname}
    banned = {"eval", "exec", "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
    banned |= {f"{module}.{name}" for module in ("pickle", "marshal", "shelve") for name in ("load", "loads", "open")}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            bases = [full_name(base, origin) for base in node.bases]
            found += [(node.lineno, base) for base in bases if base == "pickle.Unpickler"]
        if not isinstance(node, ast.Call):
            continue
        name = full_name(node.func, origin)
        keywords = {k.arg: getattr(k.value, "value", "unknown") for k in node.keywords}
        if name in banned or name == "pickle.Unpickler":
            found.append((node.lineno, name))
        if keywords.get("shell", False) is not False:
            found.append((node.lineno, "shell=True"))
        if name == "torch.load" and keywords.get("weights_only") is not True:
            found.append((node.lineno, "torch.load without weights_only=True"))
        if keywords.get("allow_pickle", False) is not False:
            found.append((node.lineno, "allow_pickle=True"))
    return found


def full_name(node: ast.expr, origin: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{full_name(node.value, origin)}.{node.attr}"
    return origin.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def test_nothing_in_the_package_runs_what_a_file_says():
    found = [
        f"{path}:{line}: {name}"
        for path in sources()
        for line, name in dangers((ROOT / path).read_text(encoding="utf-8"))
        if not (name == "pickle.Unpickler" and path.as_posix() in PICKLE_READERS)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "eval(text)",
        "exec(code)",
        "import pickle as p\np.loads(data)",
        "from pickle import load as read\nread(file)",
        "import pickle\nclass Reader(pickle.Unpickler): pass",
        "import os\nos.system('ls')",
        "import subprocess as sp\nsp.run('ls', shell=True)",
        "import subprocess\nsubprocess.run(command, shell=flag)",
        "import torch\ntorch.load(path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
    ],
)
def test_a_danger_is_found_however_it_is_written(text):
    assert len(dangers(text)) == 1


def test_harmless_namesakes_pass():
    assert dangers("model.eval()\nspec.loader.exec_module(m)\nnp.load(p, allow_pickle=False)\njson.loads(t)") == []
