"""Keeps what converters and engines say of their own work off the screen; what goes wrong comes as an exception."""

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing that Python code logs, warns of or prints inside reaches the screen."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)  # coremltools calls a missing optional library an error
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextlib.contextmanager
def quiet_process() -> Iterator[None]:
    """The same, and of what C++ code writes to standard error as well."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with quiet():
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
