"""Cortex-M4 with floating point and the DSP extension. QEMU's MPS2 board with FPGA image AN386."""

from ..board import MIB, Region, cortex_m

BOARD = cortex_m(
    "cortex-m4",
    "Arm Cortex-M4F (QEMU mps2-an386)",
    "mps2-an386",
    ("-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
    Region("CODE", 0x0000_0000, 4 * MIB),
    Region("CONSTANTS", 0x2100_0000, 16 * MIB),
    Region("RAM", 0x2000_0000, 4 * MIB),
)
