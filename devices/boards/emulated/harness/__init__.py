"""The C that surrounds a network on an emulated board: start-up, files from and to the host, the loop over samples.

A network runs in the same `main.c` everywhere. `host_semihosting.c` reaches the host's files from a bare Cortex-M,
`host_stdio.c` from a Linux process. None of it counts towards the figures that are reported of a network.
"""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
