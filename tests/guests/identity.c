/* bytes → bytes: nothing changes. */
#include <wazarr_codec.h>

static int64_t copy(const uint8_t *in, size_t len, uint8_t *out, size_t out_len)
{
    if (len > out_len)
        return WAZARR_OUTPUT_TOO_SMALL;
    memcpy(out, in, len);
    return (int64_t)len;
}

WAZARR_DECODE(in, len, out, out_len) { return copy(in, len, out, out_len); }
WAZARR_ENCODE(in, len, out, out_len) { return copy(in, len, out, out_len); }
WAZARR_ENCODED_BOUND(decoded_len) { return decoded_len; }
