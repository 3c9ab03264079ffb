/* How deep the stack grows: it is painted below the stack pointer, and what is not paint any more was used. */
#ifndef OFFRAMP_STACK_H
#define OFFRAMP_STACK_H

#include <stdint.h>

enum { STACK_PAINTED_BYTES = 192 * 1024 };

static inline uintptr_t stack_pointer(void)
{
    uintptr_t sp;
    __asm__ volatile("mov %0, sp" : "=r"(sp));
    return sp;
}

/* Paints downwards from `top`, and afterwards counts the bytes in use below it; STACK_PAINTED_BYTES if all. */
void stack_paint(uintptr_t top);
uint32_t stack_used(uintptr_t top);

#endif
