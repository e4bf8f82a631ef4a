/* bytes → bytes: not stateless. Each encoding is the former ones' number, then the bytes. */
#include <wazarr_codec.h>

static uint8_t calls;

WAZARR_DECODE(in, len, out, out_len)
{
    if (!len)
        return wazarr_error("no bytes, not even the number");
    if (len - 1 > out_len)
        return WAZARR_OUTPUT_TOO_SMALL;
    memcpy(out, in + 1, len - 1);
    return (int64_t)len - 1;
}

WAZARR_ENCODE(in, len, out, out_len)
{
    if (len + 1 > out_len)
        return WAZARR_OUTPUT_TOO_SMALL;
    out[0] = calls++;
    memcpy(out + 1, in, len);
    return (int64_t)len + 1;
}

WAZARR_ENCODED_BOUND(decoded_len) { return decoded_len + 1; }
