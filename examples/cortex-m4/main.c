/* Reads one input from `input.bin`, runs the network on it, writes `output.bin` and prints the class.

   The files are the host's, reached by semihosting: an emulator or a debugger serves them. In a product the sensor takes
   the place of `read_input`. */
#include "network.h"
#include "semihosting.h"

#include <stddef.h>
#include <stdint.h>

static network_input input[NETWORK_INPUT_LENGTH] __attribute__((aligned(64)));
static network_output output[NETWORK_OUTPUT_LENGTH] __attribute__((aligned(64)));
static const char *const labels[] = {NETWORK_LABELS};

static int read_input(void)
{
    intptr_t file = semihost_open("input.bin", SEMIHOST_READ_BINARY);
    int whole = file >= 0 && semihost_read(file, input, sizeof input) == 0;
    if (file >= 0)
        semihost_close(file);
    return whole;
}

static int write_output(void)
{
    intptr_t file = semihost_open("output.bin", SEMIHOST_WRITE_BINARY);
    int whole = file >= 0 && semihost_write(file, output, sizeof output) == 0;
    if (file >= 0)
        semihost_close(file);
    return whole;
}

/* The first of the largest scores. */
static size_t best_class(void)
{
    size_t best = 0;
    for (size_t i = 1; i < NETWORK_OUTPUT_LENGTH; i++)
        if (output[i] > output[best])
            best = i;
    return best;
}

static void print_number(size_t number)
{
    char text[12] = {0};
    size_t at = sizeof text - 1;
    do {
        text[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number && at);
    semihost_print(text + at);
}

static void print_class(size_t number)
{
    semihost_print("class ");
    print_number(number);
    if (number + 1 < sizeof labels / sizeof labels[0]) {
        semihost_print(": ");
        semihost_print(labels[number]);
    }
    semihost_print("\n");
}

int main(void)
{
    if (!read_input()) {
        semihost_print("input.bin is missing or too short\n");
        return 4;
    }
    NETWORK_RUN(input, output);
    if (!write_output()) {
        semihost_print("output.bin cannot be written\n");
        return 4;
    }
    print_class(best_class());
    return 0;
}
