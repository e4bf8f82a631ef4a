/* bytes → bytes, decoding only: every byte is inverted. */
#include <wazarr_codec.h>

WAZARR_DECODE(in, len, out, out_len)
{
    if (len > out_len)
        return WAZARR_OUTPUT_TOO_SMALL;
    for (size_t at = 0; at < len; at++)
        out[at] = (uint8_t)~in[at];
    return (int64_t)len;
}
