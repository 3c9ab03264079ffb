#if defined(__GNUC__)
#define MAY_BE_UNUSED __attribute__((unused)) /* not every network has every kind of gate */
#else
#define MAY_BE_UNUSED
#endif
