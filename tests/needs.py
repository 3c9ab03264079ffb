"""Skips a test where what it needs is not on this machine, and says what that is."""

import pytest
from offramp.c_compiler import processor_flags
from offramp.devices.boards.emulated import boards, missing_tools


def need_board(name: str) -> None:
    """The tools of an emulated board."""
    if missing := missing_tools(boards()[name]):
        tool, package = missing[0]
        pytest.skip(f"not run: {tool} is not installed (apt-get install {package})")


def need_processor(*flags: str) -> None:
    """A processor with these instructions, as /proc/cpuinfo spells them."""
    if missing := set(flags) - processor_flags():
        pytest.skip(f"not run: this processor lacks {', '.join(sorted(missing))}")
