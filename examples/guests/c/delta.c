/* Differences of neighbours in C order, of integers of any size: what numcodecs calls `delta`.
 *
 * array → array of the same data type. No parameters: the host says what the elements are.
 */
#include <wazarr_codec.h>

#include "running_sum.h"

static size_t item_size;

WAZARR_CONFIGURE
{
    wazarr_array decoded = wazarr_decoded_array();
    item_size = decoded.item_size;
    if (!strchr("biu", decoded.kind) || !item_size || item_size > 8 || item_size & (item_size - 1))
        return (int32_t)wazarr_error("delta is for integers of 1, 2, 4 or 8 bytes");
    return 0;
}

static int64_t all(int is_sum, const uint8_t *in, size_t len, uint8_t *out, size_t out_len)
{
    if (len > out_len)
        return WAZARR_OUTPUT_TOO_SMALL;
    if (!item_size || len % item_size)
        return wazarr_error("the length is not a whole number of elements");
    run(is_sum, item_size, in, out, len);
    return (int64_t)len;
}

WAZARR_DECODE(in, len, out, out_len) { return all(1, in, len, out, out_len); }
WAZARR_ENCODE(in, len, out, out_len) { return all(0, in, len, out, out_len); }
WAZARR_ENCODED_BOUND(decoded_len) { return decoded_len; }
