"""What every verb of the command line shares: the group, its one-line errors, progress, and the document at the end.

Nothing heavy is imported before a verb runs, so `--help` answers at once. With `--json`, the last line of standard
output is one JSON document; progress goes to standard error. Exit codes: 0 what was asked holds, 1 a check did not
hold, 2 the input was wrong.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import click

from .errors import OfframpError, OfframpWarning


def examples(*lines: str) -> str:
    """The end of a verb's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


class Verbs(click.Group):
    """Lists verbs in the order of the work, and turns every fault of the user's into one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            with warnings.catch_warnings():
                if not sys.warnoptions:
                    warnings.simplefilter("ignore")  # all others are of other packages, and about their own code
                    warnings.simplefilter("always", OfframpWarning)
                    warnings.showwarning = _show_warning  # type: ignore[assignment]
                sys.exit(super().main(*args, **{**kwargs, "standalone_mode": False}))
        except OfframpError as error:
            _fail(str(error), error.exit_code)
        except click.ClickException as error:
            _fail(error.format_message())
        except click.Abort:
            _fail("interrupted", 130)
        except OSError as error:
            _fail(f"{error.filename or 'disk'}: {error.strerror or error}")


def _show_warning(message: Warning | str, *_: Any) -> None:
    say(f"note: {' '.join(str(message).split())}")


def _fail(message: str, exit_code: int = 2) -> NoReturn:
    click.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(exit_code)


def say(line: str) -> None:
    """A step, for people."""
    click.echo(f"· {line}", err=True)


def finish(document: Any, as_json: bool, show: Callable[[Any], None]) -> None:
    """Prints a verb's document, as JSON or as `show` has it."""
    if os.environ.get("RANK", "0") != "0":  # under torchrun, one process speaks for all
        return
    if as_json:
        click.echo(json.dumps(document, sort_keys=True))
    else:
        show(document)
