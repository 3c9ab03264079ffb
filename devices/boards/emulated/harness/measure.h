/* Marks round what is measured. */
#ifndef OFFRAMP_MEASURE_H
#define OFFRAMP_MEASURE_H

/* An instruction counter that watches the program counts from one to the other. */
void measure_begin(void);
void measure_end(void);

#endif
