"""The instruction counter that QEMU loads, in C."""

from pathlib import Path

SOURCE = Path(__file__).resolve().parent / "count_instructions.c"
