"""Cortex-M55 with the vector extension Helium. QEMU's MPS3 board with FPGA image AN547.

Code lies in the tightly coupled memory, constants in the board's DDR memory, everything else in its large static RAM.
"""

from ..board import KIB, MIB, Region, cortex_m

BOARD = cortex_m(
    "cortex-m55",
    "Arm Cortex-M55 with Helium (QEMU mps3-an547)",
    "mps3-an547",
    ("-mcpu=cortex-m55", "-mfloat-abi=hard"),
    Region("CODE", 0x0000_0000, 512 * KIB),
    Region("CONSTANTS", 0x6000_0000, 16 * MIB),
    Region("RAM", 0x2100_0000, 4 * MIB),
)
