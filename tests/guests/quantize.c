/* array → array of another data type: f4 or f8 → i2, multiplied by the parameter scale (1) and rounded. */
#include <math.h>
#include <wazarr_codec.h>

static double scale = 1;
static size_t item_size;

WAZARR_CONFIGURE
{
    wazarr_array decoded = wazarr_decoded_array(), encoded = wazarr_encoded_array();
    scale = wazarr_number("scale", 1);
    item_size = decoded.item_size;
    if (decoded.kind != 'f' || item_size < 4 || encoded.kind != 'i' || encoded.item_size != 2)
        return (int32_t)wazarr_error("from f4 or f8 to i2 only");
    return 0;
}

WAZARR_DECODE(in, len, out, out_len)
{
    if (len / 2 * item_size > out_len)
        return WAZARR_OUTPUT_TOO_SMALL;
    for (size_t i = 0; i < len / 2; i++) {
        double number = ((const int16_t *)in)[i] / scale;
        if (item_size == 4)
            ((float *)out)[i] = (float)number;
        else
            ((double *)out)[i] = number;
    }
    return (int64_t)(len / 2 * item_size);
}

WAZARR_ENCODE(in, len, out, out_len)
{
    size_t count = len / item_size;
    if (count * 2 > out_len)
        return WAZARR_OUTPUT_TOO_SMALL;
    for (size_t i = 0; i < count; i++) {
        double number = item_size == 4 ? ((const float *)in)[i] : ((const double *)in)[i];
        number = rint(number * scale);
        if (!(number >= INT16_MIN && number <= INT16_MAX))
            return wazarr_error("a number is out of range for i2");
        ((int16_t *)out)[i] = (int16_t)number;
    }
    return (int64_t)(count * 2);
}
