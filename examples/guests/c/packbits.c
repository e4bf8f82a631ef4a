/* Eight booleans in a byte, the first in the highest bit: what numcodecs calls `packbits`.
 *
 * array → bytes. The first byte says how many bits of the last byte are padding.
 */
#include <wazarr_codec.h>

typedef uint8_t bytes __attribute__((vector_size(16)));
static const bytes bit = {128, 64, 32, 16, 8, 4, 2, 1, 128, 64, 32, 16, 8, 4, 2, 1};

WAZARR_DECODED_LEN(in, len)
{
    return !len || in[0] > 7 || (len == 1 && in[0]) ? WAZARR_UNKNOWN : (int64_t)(len - 1) * 8 - in[0];
}

WAZARR_DECODE_RANGE(in, len, out, out_len, first)
{
    int64_t count = wazarr_decoded_len(in, len);
    if (count < 0)
        return wazarr_error("the number of padding bits is missing or too large");
    if (first > count || (int64_t)out_len > count - first)
        return wazarr_error("the range ends after the data");
    size_t at = 0;
    for (in += 1 + first / 8; at + 16 <= out_len; at += 16, in += 2) {
        bytes v = {in[0], in[1]};
        v = __builtin_shufflevector(v, v, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
        v = (bytes)((v & bit) != 0) & 1;
        memcpy(out + at, &v, 16);
    }
    for (size_t i = 0; at < out_len; at++, i++)
        out[at] = in[i / 8] >> (7 - i % 8) & 1;
    return (int64_t)out_len;
}
WAZARR_RANGE_BYTES { return 8; }

WAZARR_DECODE(in, len, out, out_len)
{
    int64_t count = wazarr_decoded_len(in, len);
    if (count > (int64_t)out_len)
        return WAZARR_OUTPUT_TOO_SMALL;
    return wazarr_decode_range(in, len, out, count < 0 ? 0 : (size_t)count, 0);
}

WAZARR_ENCODE(in, len, out, out_len)
{
    size_t packed_len = 1 + (len + 7) / 8;
    if (packed_len > out_len)
        return WAZARR_OUTPUT_TOO_SMALL;
    memset(out, 0, packed_len);
    out[0] = (uint8_t)(-len % 8);
    size_t at = 0;
    for (; at + 8 <= len; at += 8) { /* the product moves each of eight bits into the highest byte */
        uint64_t eight;
        memcpy(&eight, in + at, 8);
        out[1 + at / 8] = (uint8_t)((eight & 0x0101010101010101) * 0x8040201008040201 >> 56);
    }
    for (; at < len; at++)
        out[1 + at / 8] |= (uint8_t)((in[at] & 1) << (7 - at % 8));
    return (int64_t)packed_len;
}

WAZARR_ENCODED_BOUND(decoded_len) { return 1 + (decoded_len + 7) / 8; }
