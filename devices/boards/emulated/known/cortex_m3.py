"""Cortex-M3: no floating point, no instructions for small integers. QEMU's MPS2 board with FPGA image AN385."""

from ..board import MIB, Region, cortex_m

BOARD = cortex_m(
    "cortex-m3",
    "Arm Cortex-M3 (QEMU mps2-an385)",
    "mps2-an385",
    ("-mcpu=cortex-m3", "-mfloat-abi=soft"),
    Region("CODE", 0x0000_0000, 4 * MIB),
    Region("CONSTANTS", 0x2100_0000, 16 * MIB),
    Region("RAM", 0x2000_0000, 4 * MIB),
)
