/* LZ4 blocks with their length before them, by liblz4: what numcodecs calls `lz4`.
 *
 * bytes → bytes. Parameter: acceleration (1). The length is four bytes, little-endian.
 */
#include <wazarr_codec.h>

#include <lz4.c>

static int acceleration = 1;

WAZARR_CONFIGURE
{
    acceleration = (int)wazarr_integer("acceleration", 1, 1, 65537);
    return 0;
}

WAZARR_DECODE(in, len, out, out_len)
{
    uint32_t decoded_len;
    if (len < 4 || len > INT32_MAX)
        return wazarr_error("shorter than its own header, or longer than 2 GiB");
    memcpy(&decoded_len, in, 4);
    if (decoded_len > INT32_MAX)
        return wazarr_error("the header asks for more than 2 GiB");
    if (decoded_len > out_len)
        return WAZARR_OUTPUT_TOO_SMALL;
    int written = LZ4_decompress_safe((const char *)in + 4, (char *)out, (int)len - 4, (int)decoded_len);
    return written == (int)decoded_len ? written : wazarr_error("a damaged LZ4 block");
}

WAZARR_ENCODE(in, len, out, out_len)
{
    uint32_t decoded_len = (uint32_t)len;
    if (len > LZ4_MAX_INPUT_SIZE)
        return wazarr_error("more than LZ4 takes at once");
    if (out_len < 4)
        return WAZARR_OUTPUT_TOO_SMALL;
    memcpy(out, &decoded_len, 4);
    int room = out_len - 4 > INT32_MAX ? INT32_MAX : (int)(out_len - 4);
    int written = LZ4_compress_fast((const char *)in, (char *)out + 4, (int)len, room, acceleration);
    return written ? written + 4 : WAZARR_OUTPUT_TOO_SMALL;
}

WAZARR_ENCODED_BOUND(decoded_len) { return decoded_len + decoded_len / 255 + 16 + 4; }
WAZARR_DECODED_LEN(in, len)
{
    uint32_t decoded_len;
    if (len < 4)
        return WAZARR_UNKNOWN;
    memcpy(&decoded_len, in, 4);
    return decoded_len;
}
