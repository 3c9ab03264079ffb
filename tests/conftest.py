"""Makes `offramp` importable from a bare checkout (the repository root is the package), and what many tests share."""

import importlib.util
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path

import pytest

EPOCHS = 8  # enough for 97% on the digits, in ten seconds
HELD_OUT = 200  # samples that artifacts are verified on

ROOT = Path(__file__).resolve().parent.parent

if importlib.util.find_spec("offramp") is None:
    spec = importlib.util.spec_from_file_location(
        "offramp", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["offramp"] = module
    spec.loader.exec_module(module)

# Where offramp is installed, its entry point has loaded the plugin, and pytest takes none twice.
_PLUGIN = "offramp.pytest_plugin"
pytest_plugins = ["pytester", *({_PLUGIN} - {found.value for found in entry_points(group="pytest11")})]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of user's networks that Python can import from."""
    folder = tmp_path_factory.mktemp("site")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="session")
def care_run(tmp_path_factory) -> Path:
    """`runs/care_xxs`, trained on the digits for a few epochs once in a test run; to be read, never written."""
    from offramp.options import Options
    from offramp.pipeline import train_source
    from offramp.sources import find_source

    source = find_source("care_xxs")
    options = Options(runs=tmp_path_factory.mktemp("trained") / "runs")
    train_source(source, options, replace(source.system.recipe, epochs=EPOCHS))
    return options.runs / "care_xxs"


@pytest.fixture(scope="session")
def care_dist(care_run, tmp_path_factory) -> Path:
    """`dist/care_xxs` of that run: float32 and int8 for every target, timed; to be read, never written."""
    from offramp.options import Options
    from offramp.pipeline import deploy

    out = tmp_path_factory.mktemp("deployed") / "dist"
    deploy(str(care_run), Options(out=out, held_out=HELD_OUT))
    return out / "care_xxs"


@pytest.fixture
def quick_codes(monkeypatch) -> None:
    """What a study ships gets the nearest codes within extremes, in this process: for tests of form and flow alone."""
    from offramp.quant.scheme import Scheme
    from offramp.reproductions import _artifacts, _trainings

    quick = partial(Scheme, calibration="minmax", rounding="nearest", correct_bias=False)
    monkeypatch.setattr(_artifacts, "Scheme", quick)
    monkeypatch.setattr(_trainings, "ProcessPoolExecutor", lambda *settings: ThreadPoolExecutor(1))


@pytest.fixture
def damaged_dist(care_dist, tmp_path) -> Path:
    """A copy of `care_dist` that a test may damage."""
    return Path(shutil.copytree(care_dist, tmp_path / "care_xxs"))


@pytest.fixture
def double():
    """float64 by default, for equations that are to hold to many digits."""
    import torch

    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
