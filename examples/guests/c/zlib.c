/* zlib streams, by libdeflate. bytes → bytes. Parameter: level (6), from 1 to 12.
 *
 * libdeflate keeps its bits in a `size_t`, which has 32 bits in Wasm although arithmetic of 64 bits is as
 * fast as elsewhere. Here its word is one of 64 bits: everything that common_defs.h includes has been
 * read before, so that `size_t` can mean something else in that one file.
 */
#include <wazarr_codec.h>

#include <libdeflate.h>
#define size_t uint64_t
#include <common_defs.h>
#undef size_t
#undef LIBDEFLATE_H /* lib_common.h wants to come before libdeflate.h, for this definition: */
#undef LIBDEFLATEAPI
#include <lib/adler32.c>
#include <lib/arm/cpu_features.c>
#include <lib/deflate_compress.c>
#undef BITBUF_NBITS
#include <lib/deflate_decompress.c>
#include <lib/utils.c>
#include <lib/x86/cpu_features.c>
#include <lib/zlib_compress.c>
#include <lib/zlib_decompress.c>

static struct libdeflate_decompressor *decompressor;
static struct libdeflate_compressor *compressor;
static int level = 6;

WAZARR_CONFIGURE
{
    level = (int)wazarr_integer("level", 6, 1, 12);
    return 0;
}

WAZARR_DECODE(in, len, out, out_len)
{
    size_t written = 0;
    if (!decompressor && !(decompressor = libdeflate_alloc_decompressor()))
        return wazarr_error("no memory for the decompressor");
    switch (libdeflate_zlib_decompress(decompressor, in, len, out, out_len, &written)) {
    case LIBDEFLATE_SUCCESS: return (int64_t)written;
    case LIBDEFLATE_INSUFFICIENT_SPACE: return WAZARR_OUTPUT_TOO_SMALL;
    default: return wazarr_error("not a zlib stream, or a damaged one");
    }
}

WAZARR_ENCODE(in, len, out, out_len)
{
    if (!compressor && !(compressor = libdeflate_alloc_compressor(level)))
        return wazarr_error("no memory for the compressor");
    size_t written = libdeflate_zlib_compress(compressor, in, len, out, out_len);
    return written ? (int64_t)written : WAZARR_OUTPUT_TOO_SMALL;
}

WAZARR_ENCODED_BOUND(decoded_len)
{
    return (int64_t)libdeflate_zlib_compress_bound(NULL, (size_t)decoded_len);
}
