"""Boards that are not at hand: a network's C, cross-compiled and run in an emulator.

`boards()` lists them (one file each in `known/`), `missing_tools` says what has to be installed, `run_on` gives a
network's outputs there, its bytes of flash, RAM and stack, and its instructions by function.
"""

from .board import Board as Board
from .known import boards as boards
from .run import EmulatedRun as EmulatedRun
from .run import run_on as run_on
from .toolchain import EmulatorUnavailable as EmulatorUnavailable
from .toolchain import missing_tools as missing_tools
