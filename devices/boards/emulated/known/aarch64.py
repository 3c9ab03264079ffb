"""64-bit Arm with the dot-product instructions, as in phones since about 2018 and in a Raspberry Pi 5."""

from ..board import linux_aarch64

BOARD = linux_aarch64(
    "aarch64", "Arm AArch64 with dot product (QEMU cortex-a76)", "cortex-a76", ("-march=armv8.2-a+dotprod",)
)
