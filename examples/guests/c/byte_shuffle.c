/* First bytes of all elements, then second bytes and so on: what blosc and numcodecs call `shuffle`.
 *
 * bytes → bytes. Parameter: elementsize (4). Bytes after the last whole element stay where they are.
 */
#include <wazarr_codec.h>

#include "interleave.h"

static size_t element_size = 4;

WAZARR_CONFIGURE
{
    element_size = (size_t)wazarr_integer("elementsize", 4, 1, 1 << 20);
    return 0;
}

/* Elements from `first` up to `end`, and after the last of all what is no whole element. */
#define SHUFFLE(side, first, end, from, to, rest)                                                  \
    size_t size = element_size, count = len / size, begin = (first) / size, at = begin;            \
    at = size == 2 ? side##_2(in, out, count, at, end) : at;                                       \
    at = size == 4 ? side##_4(in, out, count, at, end) : at;                                       \
    at = size == 8 ? side##_8(in, out, count, at, end) : at;                                       \
    for (; at < end; at++)                                                                         \
        for (size_t i = 0; i < size; i++)                                                          \
            out[to] = in[from];                                                                    \
    memcpy(out + (at - begin) * size, in + at * size, rest);
WAZARR_DECODE_RANGE(in, len, out, out_len, first)
{
    size_t stop = (size_t)first + out_len;
    if (stop < out_len || stop > len)
        return wazarr_error("the range ends after the data");
    SHUFFLE(join, (size_t)first, stop / size, i * count + at, (at - begin) * size + i,
            stop == len ? len % size : 0)
    return (int64_t)out_len;
}
WAZARR_RANGE_BYTES { return (int64_t)(element_size * 16); }
WAZARR_DECODED_LEN(in, len)
{
    (void)in;
    return (int64_t)len;
}
WAZARR_DECODE(in, len, out, out_len)
{
    return len > out_len ? WAZARR_OUTPUT_TOO_SMALL : wazarr_decode_range(in, len, out, len, 0);
}
WAZARR_ENCODE(in, len, out, out_len)
{
    if (len > out_len)
        return WAZARR_OUTPUT_TOO_SMALL;
    SHUFFLE(split, 0, count, at * size + i, i * count + at, len % size)
    return (int64_t)len;
}
WAZARR_ENCODED_BOUND(decoded_len) { return decoded_len; }
