#ifndef OFFRAMP_HOST_H
#define OFFRAMP_HOST_H

#include <stddef.h>
#include <stdint.h>

/* Exit codes, the same in run.py. */
enum { EXIT_DONE = 0, EXIT_FAULT = 3, EXIT_NO_FILE = 4, EXIT_STACK = 5 };

/* Opens the two files. Leaves the program where it cannot. */
void host_open(const char *inputs, const char *outputs);

/* The next `bytes` of the inputs; 0 at their end. */
int host_read(void *to, size_t bytes);

void host_write(const void *from, size_t bytes);

/* Closes the files and leaves the program. */
__attribute__((noreturn)) void host_exit(int code);

#endif
