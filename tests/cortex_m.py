"""What a C program with files needs to run on an emulated Cortex-M: start, linker script, flags and the emulator."""

from collections.abc import Sequence
from pathlib import Path

from offramp.devices.boards.emulated import boards

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


def compile_flags(processor: Sequence[str], folder: Path) -> list[str]:
    """Of arm-none-eabi-gcc, for a processor as a board's flags name it; the linker script is put into a folder."""
    (folder / "link.ld").write_text(LINK)
    linked = ["-nostartfiles", "--specs=rdimon.specs", "-T", str(folder / "link.ld"), "-Wl,--gc-sections"]
    return [*processor, "-ffunction-sections", *linked]


def emulator(board: str, program: Path) -> list[str]:
    """The command that runs a program."""
    return [*boards()[board].emulator, str(program)]
