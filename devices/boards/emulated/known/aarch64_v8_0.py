"""64-bit Arm without the dot-product instructions, as in a Raspberry Pi 3 or 4."""

from ..board import linux_aarch64

BOARD = linux_aarch64("aarch64-armv8.0", "Arm AArch64 (QEMU cortex-a53)", "cortex-a53", ("-march=armv8-a",))
