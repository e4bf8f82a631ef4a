/* array → bytes: a byte with the size of an element, then the elements with their bytes reversed. */
#include <wazarr_codec.h>

static size_t item_size, decoded_len;

WAZARR_CONFIGURE
{
    wazarr_array decoded = wazarr_decoded_array();
    item_size = decoded_len = decoded.item_size;
    for (size_t axis = 0; axis < decoded.dimensions; axis++)
        decoded_len *= (size_t)decoded.shape[axis];
    if (!item_size || item_size > 255)
        return (int32_t)wazarr_error("the data type has no size, or too large a one");
    return 0;
}

static void reverse(const uint8_t *in, uint8_t *out, size_t len)
{
    for (size_t at = 0; at < len; at += item_size)
        for (size_t i = 0; i < item_size; i++)
            out[at + i] = in[at + item_size - 1 - i];
}

WAZARR_DECODE(in, len, out, out_len)
{
    if (len != 1 + decoded_len || in[0] != item_size)
        return wazarr_error("encoded for another data type or shape");
    if (decoded_len > out_len)
        return WAZARR_OUTPUT_TOO_SMALL;
    reverse(in + 1, out, decoded_len);
    return (int64_t)decoded_len;
}

WAZARR_ENCODE(in, len, out, out_len)
{
    if (len != decoded_len)
        return wazarr_error("the chunk has another length than was configured");
    if (1 + len > out_len)
        return WAZARR_OUTPUT_TOO_SMALL;
    out[0] = (uint8_t)item_size;
    reverse(in, out + 1, len);
    return 1 + (int64_t)len;
}

WAZARR_ENCODED_BOUND(decoded) { return 1 + decoded; }
