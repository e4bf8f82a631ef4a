/* bytes → bytes, encoding only: asks WASI for everything, and answers with what it was told. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <wazarr_codec.h>

WAZARR_ENCODE(in, len, out, out_len)
{
    (void)in;
    if (out_len < 64)
        return WAZARR_OUTPUT_TOO_SMALL;
    struct timespec now = {0};
    uint64_t random = 0;
    clock_gettime(CLOCK_REALTIME, &now);
    getentropy(&random, sizeof random);
    FILE *file = fopen("/etc/hostname", "r");
    fprintf(stderr, "encoding %zu bytes\n", len);
    int written = snprintf((char *)out, out_len, "time %lld file %d home %d random %016llx",
                           (long long)now.tv_sec, file != NULL, getenv("HOME") != NULL,
                           (unsigned long long)random);
    return written;
}
