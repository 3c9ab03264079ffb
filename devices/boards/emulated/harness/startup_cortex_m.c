/* Start of a bare Cortex-M: vector table, memory and floating point made ready, then main. A fault is reported to the
   host by semihosting and ends the program. */
#include "semihosting.h"

#include <stdint.h>

extern uint32_t stack_top[], data_load[], data_start[], data_end[], bss_start[], bss_end[];

int main(void);
void reset(void);
void fault(void);
void report_fault(const uint32_t *frame) __attribute__((used));

#define CONFIGURABLE_FAULT_STATUS (*(volatile uint32_t *)0xe000ed28)

/* Interrupts stay disabled; only faults can come. */
__attribute__((section(".vectors"), used)) static const uintptr_t vectors[16] = {
    (uintptr_t)stack_top, (uintptr_t)reset, (uintptr_t)fault, (uintptr_t)fault,
    (uintptr_t)fault,     (uintptr_t)fault, (uintptr_t)fault, (uintptr_t)fault,
    0,                    0,                0,                (uintptr_t)fault,
    (uintptr_t)fault,     0,                (uintptr_t)fault, (uintptr_t)fault,
};

__attribute__((naked, noreturn)) void reset(void)
{
    /* CPACR: floating point, and the vector extension of cores that have it, before any C that may use their registers. */
    __asm__ volatile("ldr r0, =0xe000ed88\n\t"
                     "ldr r1, [r0]\n\t"
                     "orr r1, r1, #0x00f00000\n\t"
                     "str r1, [r0]\n\t"
                     "dsb\n\t"
                     "isb\n\t"
                     "b start");
}

__attribute__((noreturn, used)) static void start(void)
{
    const uint32_t *from = data_load;
    for (uint32_t *to = data_start; to < data_end;)
        *to++ = *from++;
    for (uint32_t *to = bss_start; to < bss_end;)
        *to++ = 0;
    semihost_exit((uintptr_t)main());
}

static void print_hex(const char *label, uint32_t value)
{
    char text[9] = {0};
    for (int i = 0; i < 8; i++)
        text[i] = "0123456789abcdef"[value >> (28 - 4 * i) & 15];
    semihost_print(label);
    semihost_print(text);
}

/* `frame` holds r0-r3, r12, lr, pc and xpsr, as the core saved them. */
void report_fault(const uint32_t *frame)
{
    uint32_t number;
    __asm__ volatile("mrs %0, ipsr" : "=r"(number));
    print_hex("fault: exception ", number & 0x1ff);
    print_hex(" pc ", frame[6]);
    print_hex(" status ", CONFIGURABLE_FAULT_STATUS);
    semihost_print("\n");
    semihost_exit(3);
}

__attribute__((naked)) void fault(void)
{
    __asm__ volatile("mrs r0, msp\n\t"
                     "b report_fault");
}
