/* TIFF's horizontal predictor: every sample is stored as its difference to the left neighbour.
 *
 * bytes → bytes. Parameters: bytes_per_sample (1, 2, 4 or 8), width (samples in a row).
 */
#include <wazarr_codec.h>

#include "running_sum.h"

static size_t bytes_per_sample, row_len;

WAZARR_CONFIGURE
{
    bytes_per_sample = (size_t)wazarr_integer("bytes_per_sample", 0, 1, 8);
    row_len = bytes_per_sample * (size_t)wazarr_integer("width", 0, 1, INT32_MAX / 8);
    if (!row_len || bytes_per_sample & (bytes_per_sample - 1))
        return (int32_t)wazarr_error("width must be at least 1, and bytes_per_sample 1, 2, 4 or 8");
    return 0;
}

static int64_t each_row(int is_sum, const uint8_t *in, size_t len, uint8_t *out, size_t out_len)
{
    if (len > out_len)
        return WAZARR_OUTPUT_TOO_SMALL;
    if (!row_len || len % row_len)
        return wazarr_error("the length is not a whole number of rows");
    for (size_t at = 0; at < len; at += row_len)
        run(is_sum, bytes_per_sample, in + at, out + at, row_len);
    return (int64_t)len;
}

WAZARR_DECODE(in, len, out, out_len) { return each_row(1, in, len, out, out_len); }
WAZARR_DECODE_RANGE(in, len, out, out_len, first)
{
    if ((size_t)first > len || out_len > len - (size_t)first)
        return wazarr_error("the range ends after the data");
    return each_row(1, in + first, out_len, out, out_len);
}
WAZARR_RANGE_BYTES { return (int64_t)row_len; }
WAZARR_DECODED_LEN(in, len)
{
    (void)in;
    return !row_len || len % row_len ? WAZARR_UNKNOWN : (int64_t)len;
}
WAZARR_ENCODE(in, len, out, out_len) { return each_row(0, in, len, out, out_len); }
WAZARR_ENCODED_BOUND(decoded_len) { return decoded_len; }
