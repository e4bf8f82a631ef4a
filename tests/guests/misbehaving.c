/* bytes → bytes: nothing changes, but decoding fails in the way that the parameter `how` says. */
#include <wazarr_codec.h>

static bool is(const char *how) { return wazarr_is_text("how", how, false); }

WAZARR_CONFIGURE
{
    if (is("refuse"))
        return (int32_t)wazarr_error("configured to refuse");
    while (is("loop in configure"))
        __asm__ volatile("");
    return 0;
}

static int recurse(volatile int depth)
{
    volatile char room[4096];
    if (depth < 0)
        return 0;
    room[depth % 4096] = 1;
    return recurse(depth + 1) + room[(depth + 1) % 4096];
}

static int64_t misbehave(uint8_t *out, size_t len, size_t out_len)
{
    if (is("fail"))
        return wazarr_error("told to fail: é");
    if (is("trap"))
        __builtin_trap();
    while (is("loop"))
        __asm__ volatile("");
    if (is("recurse"))
        return recurse(0);
    if (is("say too much"))
        return (int64_t)out_len + 1;
    if (is("say far too much"))
        return INT64_MAX;
    if (is("say a negative number"))
        return -12345;
    if (is("say too little"))
        return (int64_t)len / 2;
    if (is("want ever more"))
        return WAZARR_OUTPUT_TOO_SMALL;
    while (is("eat memory")) {
        volatile char *more = malloc(1 << 20);
        if (!more)
            return wazarr_error("no more memory to eat");
        *more = 1;
    }
    if (is("write beyond"))
        memset(out + out_len, 0xEE, 64);
    if (is("write far beyond"))
        memset((void *)0xFFFF0000u, 1, 64);
    return (int64_t)len;
}

WAZARR_DECODE(in, len, out, out_len)
{
    if (len > out_len)
        return WAZARR_OUTPUT_TOO_SMALL;
    memcpy(out, in, len);
    return misbehave(out, len, out_len);
}

WAZARR_DECODE_RANGE(in, len, out, out_len, first)
{
    if ((size_t)first + out_len > len)
        return wazarr_error("the range ends after the data");
    memcpy(out, in + (is("decode another range") ? 0 : first), out_len);
    return (int64_t)out_len;
}

WAZARR_DECODED_LEN(in, len)
{
    (void)in;
    return (int64_t)len;
}

WAZARR_ENCODE(in, len, out, out_len)
{
    if (len > out_len)
        return WAZARR_OUTPUT_TOO_SMALL;
    memcpy(out, in, len);
    return (int64_t)len;
}

WAZARR_ENCODED_BOUND(decoded_len) { return decoded_len; }
