/* Eight booleans in a byte, the first in the highest bit: what numcodecs calls `packbits`.
 *
 * array → bytes. The first byte says how many bits of the last byte are padding.
 */
#include <wazarr_codec.h>

typedef uint8_t bytes __attribute__((vector_size(16)));
static const bytes bit = {128, 64, 32, 16, 8, 4, 2, 1, 128, 64, 32, 16, 8, 4, 2, 1};

WAZARR_DECODE(in, len, out, out_len)
{
    if (!len || in[0] > 7 || (len == 1 && in[0]))
        return wazarr_error("the number of padding bits is missing or too large");
    size_t count = (len - 1) * 8 - in[0], at = 0;
    if (count > out_len)
        return WAZARR_OUTPUT_TOO_SMALL;
    for (in++; at + 16 <= count; at += 16, in += 2) {
        bytes v = {in[0], in[1]};
        v = __builtin_shufflevector(v, v, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
        v = (bytes)((v & bit) != 0) & 1;
        memcpy(out + at, &v, 16);
    }
    for (size_t i = 0; at < count; at++, i++)
        out[at] = in[i / 8] >> (7 - i % 8) & 1;
    return (int64_t)count;
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
