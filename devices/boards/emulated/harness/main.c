/* Runs a network on every sample of `inputs.bin` and writes `outputs.bin`: the outputs of each sample, and at last how
   many bytes of stack the first one used. */
#include "host.h"
#include "harness.h"
#include "stack.h"

static int read_sample(void)
{
    for (size_t i = 0; i < harness_input_count; i++)
        if (!host_read(harness_inputs[i].data, harness_inputs[i].bytes))
            return 0;
    return 1;
}

static void write_outputs(void)
{
    for (size_t i = 0; i < harness_output_count; i++)
        host_write(harness_outputs[i].data, harness_outputs[i].bytes);
}

static uint32_t run_on_painted_stack(void)
{
    uintptr_t top = stack_pointer();
    stack_paint(top);
    harness_sample();
    return stack_used(top);
}

int main(void)
{
    uint32_t stack_bytes = 0;
    host_open("inputs.bin", "outputs.bin");
    if (read_sample()) {
        stack_bytes = run_on_painted_stack();
        write_outputs();
    }
    while (read_sample()) {
        harness_sample();
        write_outputs();
    }
    host_write(&stack_bytes, sizeof stack_bytes);
    host_exit(stack_bytes < STACK_PAINTED_BYTES ? EXIT_DONE : EXIT_STACK);
}
