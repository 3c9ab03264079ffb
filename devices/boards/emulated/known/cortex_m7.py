"""Cortex-M7 with single-precision floating point and the DSP extension. QEMU's MPS2 board with FPGA image AN500."""

from ..board import MIB, Region, cortex_m

BOARD = cortex_m(
    "cortex-m7",
    "Arm Cortex-M7F (QEMU mps2-an500)",
    "mps2-an500",
    ("-mcpu=cortex-m7", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"),
    Region("CODE", 0x0000_0000, 4 * MIB),
    Region("CONSTANTS", 0x6000_0000, 16 * MIB),
    Region("RAM", 0x2000_0000, 4 * MIB),
)
