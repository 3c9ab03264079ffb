"""The emulated boards, a file each that sets `BOARD`; a new file here is a new board."""

import importlib
import pkgutil

from .....errors import BadInput
from ..board import Board


def boards() -> dict[str, Board]:
    """Every emulated board by its name."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    found = {module.BOARD.name: module.BOARD for module in modules}
    return dict(sorted(found.items()))


def find_board(name: str) -> Board:
    """The board of that name.

    Raises:
        BadInput: there is none.
    """
    known = boards()
    if name not in known:
        raise BadInput(f"{name}: no such emulated board; choose one of {', '.join(known)}")
    return known[name]
