"""How verbs write to the terminal: one console, tables without borders, texts of documents taken literally."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

# Into a file or a pipe, lines are as long as they need to be.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def literally(show: Callable[[Any], None]) -> Callable[[Any], None]:
    """Shows the document's texts as they are: what stands in brackets, as in a shape, is no markup."""

    def escaped(value: Any) -> Any:
        if isinstance(value, str):
            return escape(value)
        if isinstance(value, dict):
            return {key: escaped(inner) for key, inner in value.items()}
        return [escaped(inner) for inner in value] if isinstance(value, list) else value

    @wraps(show)
    def shown(document: Any) -> None:
        show(escaped(document))

    return shown


def short(text: str) -> str:
    """A dash where nothing was measured: a terminal has no room for the words."""
    return "–" if text == "not measured" else text


# Columns that may break over lines.
_PROSE = {
    *("detail", "to enable it", "what", "what the samples say", "why", "works", "paper", "title"),
    *("what the paper says", "what it trains", "settings", "settings, or why not"),
}


def table(*columns: str) -> Table:
    """An empty table; columns of numbers and names stay on one line, prose may break."""
    made = Table(box=None, pad_edge=False, padding=(0, 1), collapse_padding=True, header_style="dim")
    for column in columns:
        made.add_column(column, overflow="fold", no_wrap=len(column) > 0 and column not in _PROSE)
    return made
