"""Verbs as a user and as a program calls them, in this process."""

import json

from click.testing import CliRunner
from offramp.cli import main


def offramp(*arguments, code=0) -> str:
    """What a verb prints; progress goes to standard error, line by line, and nothing else does."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    assert all(line.startswith("·") for line in result.stderr.splitlines()), result.stderr
    return result.stdout


def document_of(*arguments, code=0):
    """The JSON document on the last line of what a verb prints."""
    return json.loads(offramp(*arguments, "--json", code=code).splitlines()[-1])


def progress_of(*arguments) -> str:
    """What a verb says while it works."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stderr


def error_of(*arguments, code=2) -> str:
    """The one line that a verb ends with."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.stderr, result.exception)
    assert result.stdout == ""
    *progress, last = result.stderr.splitlines()
    assert all(line.startswith("·") for line in progress), result.stderr
    assert last.startswith("error: ")
    return last.removeprefix("error: ")
