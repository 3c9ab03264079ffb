/* The network as main.c sees it. `glue.c`, written for each network, defines what is declared here.

   No name here ends in _run, as those of networks do. */
#ifndef OFFRAMP_HARNESS_H
#define OFFRAMP_HARNESS_H

#include <stddef.h>

typedef struct {
    void *data;
    size_t bytes;
} buffer;

extern const buffer harness_inputs[], harness_outputs[];
extern const size_t harness_input_count, harness_output_count;

/* One sample, from the input buffers to the output buffers, with a mark of measure.h before and behind it. */
void harness_sample(void);

#endif
