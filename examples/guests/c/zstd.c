/* Zstandard frames, by libzstd. bytes → bytes. Parameters: level (3), checksum (false).
 *
 * For Wasm compiled with `-include wide_size.h`, like libzstd itself; here that ends after its headers.
 */
#include <zstd.h>
#include <zstd_errors.h>
#undef size_t

#include <wazarr_codec.h>

static ZSTD_DCtx *decompressor;
static ZSTD_CCtx *compressor;
static int level = 3;
static bool has_checksum;

WAZARR_CONFIGURE
{
    level = (int)wazarr_integer("level", 3, -131072, 22);
    has_checksum = wazarr_boolean("checksum", false);
    return 0;
}

static int64_t answer(uint64_t result)
{
    if (!ZSTD_isError(result))
        return (int64_t)result;
    if (ZSTD_getErrorCode(result) == ZSTD_error_dstSize_tooSmall)
        return WAZARR_OUTPUT_TOO_SMALL;
    return wazarr_error(ZSTD_getErrorName(result));
}

WAZARR_DECODE(in, len, out, out_len)
{
    if (!decompressor && !(decompressor = ZSTD_createDCtx()))
        return wazarr_error("no memory for the decompressor");
    return answer(ZSTD_decompressDCtx(decompressor, out, out_len, in, len));
}

WAZARR_ENCODE(in, len, out, out_len)
{
    if (!compressor && !(compressor = ZSTD_createCCtx()))
        return wazarr_error("no memory for the compressor");
    ZSTD_CCtx_setParameter(compressor, ZSTD_c_compressionLevel, level);
    ZSTD_CCtx_setParameter(compressor, ZSTD_c_checksumFlag, has_checksum);
    return answer(ZSTD_compress2(compressor, out, out_len, in, len));
}

WAZARR_ENCODED_BOUND(decoded_len) { return (int64_t)ZSTD_compressBound((size_t)decoded_len); }
WAZARR_DECODED_LEN(in, len)
{
    unsigned long long decoded_len = ZSTD_getFrameContentSize(in, len);
    return decoded_len > INT64_MAX ? WAZARR_UNKNOWN : (int64_t)decoded_len;
}
