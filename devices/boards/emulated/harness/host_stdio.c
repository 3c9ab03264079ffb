/* Files of the host for a Linux process in user-mode emulation. */
#include "host.h"

#include <stdio.h>
#include <stdlib.h>

static FILE *inputs, *outputs;

void host_open(const char *inputs_name, const char *outputs_name)
{
    inputs = fopen(inputs_name, "rb");
    outputs = fopen(outputs_name, "wb");
    if (!inputs || !outputs)
        host_exit(EXIT_NO_FILE);
}

int host_read(void *to, size_t bytes)
{
    return fread(to, 1, bytes, inputs) == bytes;
}

void host_write(const void *from, size_t bytes)
{
    if (fwrite(from, 1, bytes, outputs) != bytes)
        host_exit(EXIT_NO_FILE);
}

void host_exit(int code)
{
    if (outputs && fclose(outputs))
        code = EXIT_NO_FILE;
    exit(code);
}
