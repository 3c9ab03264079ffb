"""The regression gate as a pytest fixture: `offramp_check(dist)` fails with a table of what moved.

    pytest --offramp-baselines ci/baselines      where baselines lie; the ini option is `offramp_baselines`
    pytest --offramp-update                      writes them instead of comparing

Nothing heavy is imported before a test asks for the fixture.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DEFAULT = "tests/baselines"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("offramp", "offramp: hold dists to their baselines")
    group.addoption(
        "--offramp-baselines",
        metavar="DIR",
        help=f"folder of baselines; the ini option offramp_baselines, or {DEFAULT}, under the root by default",
    )
    group.addoption("--offramp-update", action="store_true", help="write the baselines instead of comparing")
    parser.addini(
        "offramp_baselines", f"folder of baselines, from the root folder (default: {DEFAULT})", default=DEFAULT
    )


@pytest.fixture(scope="session")
def offramp_check(request: pytest.FixtureRequest) -> Callable[..., dict[str, Any]]:
    """A function that holds a dist to its baseline: `offramp_check(dist, name=None, ...)`.

    Args of the function:
        dist: a folder that `offramp deploy` wrote.
        name: of the baseline, `NAME.json` in the folder of baselines; None takes the dist's own.
        recorded: take the figures of the manifest and run nothing.
        data, samples, seed, older_runtime: as of `offramp check`; samples are found again by default.

    It returns the document of `offramp check --json`, and raises an AssertionError with the table of what moved, or an
    OfframpError where the dist or its baseline cannot be used.
    """
    folder = baselines_of(request.config)
    update = bool(request.config.getoption("--offramp-update"))

    def check(dist: Path | str, name: str | None = None, *, recorded: bool = False, **samples: Any) -> dict[str, Any]:
        from .gate.baseline import default_path
        from .gate.check import check_dist
        from .gate.wording import text_of
        from .inspection import options_for
        from .manifest import read_manifest

        __tracebackhide__ = True
        dist = Path(dist)
        path = default_path(name or read_manifest(dist)["name"], folder)
        if not update and not path.is_file():
            raise AssertionError(f"no baseline at {path}; write it with pytest --offramp-update")
        document = check_dist(dist, path, update, recorded, options_for(dist, **samples))
        if not document["holds"]:
            raise AssertionError(text_of(document))
        return document

    return check


def baselines_of(config: pytest.Config) -> Path:
    """The folder of baselines: as given, from the current folder; as in the ini file or by default, from the root."""
    given = config.getoption("--offramp-baselines")
    return Path(given).absolute() if given else config.rootpath / str(config.getini("offramp_baselines"))
