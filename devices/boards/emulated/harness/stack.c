#include "stack.h"

enum { PAINT = 0x5aa5c33c, UNPAINTED_BYTES = 32 };

/* Below the stack pointer nothing is in use, and no interrupt is enabled that could want it. A compiler may read the
   pointer before it saves registers there, so a few words stay unpainted; they count as used. */
__attribute__((noinline)) void stack_paint(uintptr_t top)
{
    volatile uint32_t *word = (volatile uint32_t *)(top - STACK_PAINTED_BYTES);
    volatile uint32_t *end = (volatile uint32_t *)((stack_pointer() - UNPAINTED_BYTES) & ~(uintptr_t)7);
    while (word < end)
        *word++ = PAINT;
}

__attribute__((noinline)) uint32_t stack_used(uintptr_t top)
{
    const volatile uint32_t *word = (const volatile uint32_t *)(top - STACK_PAINTED_BYTES);
    while ((uintptr_t)word < top && *word == PAINT)
        word++;
    return (uint32_t)(top - (uintptr_t)word);
}
