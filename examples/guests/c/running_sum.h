/* Running sums of integers of 1, 2, 4 and 8 bytes, and their inverse, differences of neighbours.
 *
 * Sixteen bytes at a time: a vector to which itself, moved by one, two, four … lanes, has been added
 * holds the running sum of its lanes.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t bytes __attribute__((vector_size(16)));
#define MOVED(v, by)                                                                               \
    __builtin_shufflevector((bytes){0}, (bytes)(v), 16 - by, 17 - by, 18 - by, 19 - by, 20 - by,   \
                            21 - by, 22 - by, 23 - by, 24 - by, 25 - by, 26 - by, 27 - by, 28 - by, \
                            29 - by, 30 - by, 31 - by)

#define OF_INTEGERS(bits)                                                                          \
    typedef uint##bits##_t lanes_##bits __attribute__((vector_size(16)));                          \
    static void sum_##bits(const uint##bits##_t *in, uint##bits##_t *out, size_t count)            \
    {                                                                                              \
        const size_t lanes = 128 / bits;                                                           \
        uint##bits##_t sum = 0;                                                                    \
        size_t at = 0;                                                                             \
        for (lanes_##bits v; at + lanes <= count; at += lanes, sum = v[lanes - 1]) {               \
            memcpy(&v, in + at, 16);                                                               \
            v += bits <= 8 ? (lanes_##bits)MOVED(v, 1) : (lanes_##bits){0};                        \
            v += bits <= 16 ? (lanes_##bits)MOVED(v, 2) : (lanes_##bits){0};                       \
            v += bits <= 32 ? (lanes_##bits)MOVED(v, 4) : (lanes_##bits){0};                       \
            v += (lanes_##bits)MOVED(v, 8);                                                        \
            v += sum;                                                                              \
            memcpy(out + at, &v, 16);                                                              \
        }                                                                                          \
        for (; at < count; at++)                                                                   \
            out[at] = sum += in[at];                                                               \
    }                                                                                              \
    static void differ_##bits(const uint##bits##_t *restrict in, uint##bits##_t *restrict out,     \
                              size_t count)                                                        \
    {                                                                                              \
        if (count)                                                                                 \
            out[0] = in[0];                                                                        \
        for (size_t at = 1; at < count; at++)                                                      \
            out[at] = in[at] - in[at - 1];                                                         \
    }
OF_INTEGERS(8)
OF_INTEGERS(16)
OF_INTEGERS(32)
OF_INTEGERS(64)

/* Sums, or the inverse, `len` bytes of integers of `size` bytes. */
static void run(int is_sum, size_t size, const void *in, void *out, size_t len)
{
    switch (size) {
    case 1: is_sum ? sum_8(in, out, len) : differ_8(in, out, len); break;
    case 2: is_sum ? sum_16(in, out, len / 2) : differ_16(in, out, len / 2); break;
    case 4: is_sum ? sum_32(in, out, len / 4) : differ_32(in, out, len / 4); break;
    case 8: is_sum ? sum_64(in, out, len / 8) : differ_64(in, out, len / 8); break;
    }
}
