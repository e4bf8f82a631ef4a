/* bytes → bytes: three copies after a byte 3; how long that is it does not say beforehand. */
#include <wazarr_codec.h>

WAZARR_DECODE(in, len, out, out_len)
{
    size_t one = len / 3;
    if (!len || in[0] != 3 || len != 1 + 3 * one)
        return wazarr_error("not three copies");
    if (one > out_len)
        return WAZARR_OUTPUT_TOO_SMALL;
    for (size_t copy = 1; copy < 3; copy++)
        if (memcmp(in + 1, in + 1 + copy * one, one))
            return wazarr_error("the three copies differ");
    memcpy(out, in + 1, one);
    return (int64_t)one;
}

WAZARR_ENCODE(in, len, out, out_len)
{
    if (1 + 3 * len > out_len)
        return WAZARR_OUTPUT_TOO_SMALL;
    out[0] = 3;
    for (size_t copy = 0; copy < 3; copy++)
        memcpy(out + 1 + copy * len, in, len);
    return 1 + 3 * (int64_t)len;
}
