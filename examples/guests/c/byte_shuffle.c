/* First bytes of all elements, then second bytes and so on: what blosc and numcodecs call `shuffle`.
 *
 * bytes → bytes. Parameter: elementsize (4). Bytes after the last whole element stay where they are.
 * For 2, 4 and 8 the bytes are moved in vectors: interleaving the first half of the vectors with the
 * second turns the number of a byte, read in binary, round by one place, so log2(elementsize) rounds
 * swap "which plane" with "which element"; taking evens and odds apart undoes a round.
 */
#include <wazarr_codec.h>

typedef uint8_t bytes __attribute__((vector_size(16)));
#define INTERLEAVED(a, b, at)                                                                      \
    __builtin_shufflevector(a, b, at, at + 16, at + 1, at + 17, at + 2, at + 18, at + 3, at + 19,  \
                            at + 4, at + 20, at + 5, at + 21, at + 6, at + 22, at + 7, at + 23)
#define EVERY_SECOND(a, b, at)                                                                     \
    __builtin_shufflevector(a, b, at, at + 2, at + 4, at + 6, at + 8, at + 10, at + 12, at + 14,   \
                            at + 16, at + 18, at + 20, at + 22, at + 24, at + 26, at + 28, at + 30)
static size_t element_size = 4;

WAZARR_CONFIGURE
{
    element_size = (size_t)wazarr_integer("elementsize", 4, 1, 1 << 20);
    return 0;
}

/* Whole blocks of sixteen elements; returns how many elements they were. */
static inline size_t blocks(int is_join, const size_t size, const uint8_t *in, uint8_t *out, size_t count)
{
    size_t at = 0;
    for (; at + 16 <= count; at += 16) {
        bytes v[8], w[8];
        for (size_t i = 0; i < size; i++)
            memcpy(&v[i], is_join ? in + i * count + at : in + at * size + i * 16, 16);
        for (size_t round = 1; round < size; round *= 2) {
            for (size_t i = 0; i < size / 2; i++) {
                if (is_join) {
                    w[2 * i] = INTERLEAVED(v[i], v[i + size / 2], 0);
                    w[2 * i + 1] = INTERLEAVED(v[i], v[i + size / 2], 8);
                } else {
                    w[i] = EVERY_SECOND(v[2 * i], v[2 * i + 1], 0);
                    w[i + size / 2] = EVERY_SECOND(v[2 * i], v[2 * i + 1], 1);
                }
            }
            memcpy(v, w, sizeof v);
        }
        for (size_t i = 0; i < size; i++)
            memcpy(is_join ? out + at * size + i * 16 : out + i * count + at, &v[i], 16);
    }
    return at;
}

static int64_t shuffle(int is_join, const uint8_t *in, size_t len, uint8_t *out, size_t out_len)
{
    if (len > out_len)
        return WAZARR_OUTPUT_TOO_SMALL;
    size_t size = element_size, count = len / size, at = 0;
    at = size == 2 ? blocks(is_join, 2, in, out, count) : at;
    at = size == 4 ? blocks(is_join, 4, in, out, count) : at;
    at = size == 8 ? blocks(is_join, 8, in, out, count) : at;
    for (; at < count; at++)
        for (size_t i = 0; i < size; i++)
            out[is_join ? at * size + i : i * count + at] = in[is_join ? i * count + at : at * size + i];
    memcpy(out + count * size, in + count * size, len - count * size);
    return (int64_t)len;
}

WAZARR_DECODE(in, len, out, out_len) { return shuffle(1, in, len, out, out_len); }
WAZARR_ENCODE(in, len, out, out_len) { return shuffle(0, in, len, out, out_len); }
WAZARR_ENCODED_BOUND(decoded_len) { return decoded_len; }
