/* Arm semihosting: a debugger, or an emulator, reads and writes the host's files for a bare board. */
#ifndef OFFRAMP_SEMIHOSTING_H
#define OFFRAMP_SEMIHOSTING_H

#include <stdint.h>

/* Numbers of the Arm semihosting specification. */
enum {
    SEMIHOST_OPEN = 0x01,
    SEMIHOST_CLOSE = 0x02,
    SEMIHOST_WRITE0 = 0x04,
    SEMIHOST_WRITE = 0x05,
    SEMIHOST_READ = 0x06,
    SEMIHOST_EXIT_EXTENDED = 0x20
};
enum { SEMIHOST_READ_BINARY = 1, SEMIHOST_WRITE_BINARY = 5 };
enum { SEMIHOST_APPLICATION_EXIT = 0x20026 };

/* One request to the host. What `argument` points to depends on the operation: mostly a block of words. */
static inline intptr_t semihost(int operation, const void *argument)
{
    register intptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

/* A handle, or -1. */
static inline intptr_t semihost_open(const char *name, uintptr_t mode)
{
    uintptr_t length = 0;
    while (name[length])
        length++;
    const uintptr_t block[] = {(uintptr_t)name, mode, length};
    return semihost(SEMIHOST_OPEN, block);
}

static inline void semihost_close(intptr_t handle)
{
    const intptr_t block[] = {handle};
    semihost(SEMIHOST_CLOSE, block);
}

/* Bytes that could NOT be read: 0 when all were. */
static inline intptr_t semihost_read(intptr_t handle, void *to, uintptr_t bytes)
{
    const uintptr_t block[] = {(uintptr_t)handle, (uintptr_t)to, bytes};
    return semihost(SEMIHOST_READ, block);
}

/* Bytes that could NOT be written: 0 when all were. */
static inline intptr_t semihost_write(intptr_t handle, const void *from, uintptr_t bytes)
{
    const uintptr_t block[] = {(uintptr_t)handle, (uintptr_t)from, bytes};
    return semihost(SEMIHOST_WRITE, block);
}

static inline void semihost_print(const char *text)
{
    semihost(SEMIHOST_WRITE0, text);
}

__attribute__((noreturn)) static inline void semihost_exit(uintptr_t code)
{
    const uintptr_t block[] = {SEMIHOST_APPLICATION_EXIT, code};
    semihost(SEMIHOST_EXIT_EXTENDED, block);
    for (;;)
        ;
}

#endif
