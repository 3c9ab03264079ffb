"""C of the emulator: the draws of `draws.py` and the pulses of `cells.py`, bit for bit."""

from pathlib import Path

SOURCE = Path(__file__).with_name("synapse.c")
