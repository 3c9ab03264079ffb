"""One inference and nothing else: what is timed where a session's own checks and copies would count for much."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from ..runtime.onnx_session import OnnxSession
from ..runtime.tflite_session import TfliteSession


def bare_call(path: Path, inputs: dict[str, np.ndarray]) -> Callable[[], object]:
    """The engine's own call on an ONNX or TFLite artifact, its inputs in place, on one thread."""
    if path.suffix == ".onnx":
        return partial(OnnxSession(path)._session.run, None, inputs)
    session = TfliteSession(path)
    session.run(inputs)
    return session._interpreter.invoke
