"""Makes `offramp` importable from a bare checkout: the repository root is the package."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

if importlib.util.find_spec("offramp") is None:
    spec = importlib.util.spec_from_file_location(
        "offramp", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["offramp"] = module
    spec.loader.exec_module(module)
