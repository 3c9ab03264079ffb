"""What a C program with files needs to run on an emulated Cortex-M: start, linker script, flags and the emulator."""

from pathlib import Path

# Stands behind the program's own text.
START = """
#include <stdlib.h>
extern uint32_t data_begin[], data_end[], data_source[], bss_begin[], bss_end[], stack_top[];
extern void initialise_monitor_handles(void);
void _init(void);
void _fini(void);
void reset(void);
int main(void);

void _init(void)
{
}

void _fini(void)
{
}

void reset(void)
{
    const uint32_t *from = data_source;
    for (uint32_t *to = data_begin; to < data_end; to++)
        *to = *from++;
    for (uint32_t *to = bss_begin; to < bss_end; to++)
        *to = 0;
#if defined(__ARM_FP)
    *(volatile uint32_t *)0xE000ED88u |= 0xF00000u;
    __asm__ volatile("dsb\\n\\tisb");
#endif
    initialise_monitor_handles();
    exit(main());
}

__attribute__((section(".vectors"), used)) static void (*const vectors[])(void) = {
    (void (*)(void))(uintptr_t)stack_top, reset, abort, abort,
};
"""
LINK = """
MEMORY { code (rx) : ORIGIN = 0x0, LENGTH = 4M  ram (rwx) : ORIGIN = 0x20000000, LENGTH = 4M }
SECTIONS {
  .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) } > code
  .ARM.exidx : { *(.ARM.exidx*) } > code
  .data : { data_begin = .; *(.data*) . = ALIGN(4); data_end = .; } > ram AT > code
  data_source = LOADADDR(.data);
  .bss : { bss_begin = .; *(.bss*) *(COMMON) . = ALIGN(8); bss_end = .; } > ram
  end = .;
  stack_top = ORIGIN(ram) + LENGTH(ram);
}
"""
FLAGS = {
    "m3": ("-mcpu=cortex-m3", "-mfloat-abi=soft"),
    "m4": ("-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
    "m4-soft": ("-mcpu=cortex-m4", "-mfloat-abi=soft"),
    "m7": ("-mcpu=cortex-m7", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"),
}
_MACHINES = {"m3": "mps2-an385", "m4": "mps2-an386", "m4-soft": "mps2-an386", "m7": "mps2-an500"}


def compile_flags(cpu: str, folder: Path) -> list[str]:
    """Of arm-none-eabi-gcc; the linker script is put into a folder."""
    (folder / "link.ld").write_text(LINK)
    linked = ["-nostartfiles", "--specs=rdimon.specs", "-T", str(folder / "link.ld"), "-Wl,--gc-sections"]
    return [*FLAGS[cpu], "-mthumb", "-ffunction-sections", *linked]


def emulator(cpu: str, program: Path) -> list[str]:
    """The command that runs a program."""
    quiet = ["-nographic", "-monitor", "none", "-serial", "none"]
    semihosting = ["-semihosting-config", "enable=on,target=native"]
    return ["qemu-system-arm", "-machine", _MACHINES[cpu], *quiet, *semihosting, "-kernel", str(program)]
