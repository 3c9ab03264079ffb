/* Files of the host for a bare Cortex-M, by semihosting. */
#include "host.h"
#include "semihosting.h"

static intptr_t inputs = -1, outputs = -1;

void host_open(const char *inputs_name, const char *outputs_name)
{
    inputs = semihost_open(inputs_name, SEMIHOST_READ_BINARY);
    outputs = semihost_open(outputs_name, SEMIHOST_WRITE_BINARY);
    if (inputs < 0 || outputs < 0)
        host_exit(EXIT_NO_FILE);
}

int host_read(void *to, size_t bytes)
{
    return semihost_read(inputs, to, bytes) == 0;
}

void host_write(const void *from, size_t bytes)
{
    if (semihost_write(outputs, from, bytes) != 0)
        host_exit(EXIT_NO_FILE);
}

void host_exit(int code)
{
    if (outputs >= 0)
        semihost_close(outputs);
    semihost_exit((uintptr_t)code);
}
