/* A Zarr codec as a WebAssembly module: this header and one function a side.
 *
 *     #include <wazarr_codec.h>
 *
 *     WAZARR_DECODE(input, input_len, output, output_len)
 *     {
 *         if (input_len > output_len)
 *             return WAZARR_OUTPUT_TOO_SMALL;
 *         memcpy(output, input, input_len);
 *         return (int64_t)input_len;
 *     }
 *
 * `wazarr codec build identity.c` makes a module of it. The header defines what else a host asks of a
 * module (docs/reference/wasm-abi.md): memory for the host, the text of the last error, and, after
 * WAZARR_CONFIGURE, the codec's parameters and the chunk's data type and shape.
 *
 * Write each of these at most once, in one source file of the module; a codec that only reads has no
 * WAZARR_ENCODE, one without parameters no WAZARR_CONFIGURE:
 *
 *     WAZARR_DECODE(input, input_len, output, output_len) { … }   encoded bytes → decoded bytes
 *     WAZARR_ENCODE(input, input_len, output, output_len) { … }   decoded bytes → encoded bytes
 *     WAZARR_CONFIGURE { … return 0; }                            before either, once an instance
 *     WAZARR_ENCODED_BOUND(decoded_len) { … }                     no encoding is longer than this
 *     WAZARR_DECODED_LEN(input, input_len) { … }                  what the input decodes to
 *     WAZARR_DECODE_RANGE(input, input_len, output, output_len, first) { … }
 *     WAZARR_RANGE_BYTES { … }                                    what ranges are multiples of
 *
 * A codec that can decode a part without what comes before says so with WAZARR_DECODE_RANGE: decoded
 * bytes from `first` on, `output_len` of them, never past the end; it needs WAZARR_DECODED_LEN too.
 * Ranges begin at multiples of WAZARR_RANGE_BYTES (of 1 without it), and end at one or at the end.
 * A host asks for large chunks in such pieces, and for no more than a reader wants of them.
 *
 * Decode and encode return how many bytes they wrote, WAZARR_OUTPUT_TOO_SMALL, or wazarr_error("why").
 * Input and output never overlap, both are aligned to 16 bytes, elements are little-endian in C order.
 * A codec keeps nothing from one call to the next but what it computed in WAZARR_CONFIGURE: the same
 * input has the same output whatever came before.
 *
 * Compiled for another target than Wasm, the same functions are called wazarr_decode, wazarr_encode and
 * so on: for a debugger, a sanitizer, or to compare speeds.
 */
#ifndef WAZARR_CODEC_H
#define WAZARR_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WAZARR_OUTPUT_TOO_SMALL ((int64_t)-2)
#define WAZARR_UNKNOWN ((int64_t)-1)

#ifdef __wasm__
#define WAZARR_EXPORT(name) __attribute__((export_name(name), visibility("default")))
#else
#define WAZARR_EXPORT(name) __attribute__((visibility("default")))
#endif
#define WAZARR_HELPER static __attribute__((unused))

#define WAZARR_SIDE(side, input, input_len, output, output_len)                                     \
    WAZARR_EXPORT(#side)                                                                            \
    int64_t wazarr_##side(const uint8_t *restrict input, size_t input_len, uint8_t *restrict output, \
                          size_t output_len)
#define WAZARR_DECODE(input, input_len, output, output_len) \
    WAZARR_SIDE(decode, input, input_len, output, output_len)
#define WAZARR_ENCODE(input, input_len, output, output_len) \
    WAZARR_SIDE(encode, input, input_len, output, output_len)

#define WAZARR_DECODE_RANGE(input, input_len, output, output_len, first)                            \
    WAZARR_EXPORT("decode_range")                                                                   \
    int64_t wazarr_decode_range(const uint8_t *restrict input, size_t input_len,                    \
                                uint8_t *restrict output, size_t output_len, int64_t first)
#define WAZARR_RANGE_BYTES WAZARR_EXPORT("range_bytes") int64_t wazarr_range_bytes(void)

#define WAZARR_ENCODED_BOUND(decoded_len) \
    WAZARR_EXPORT("encoded_bound") int64_t wazarr_encoded_bound(int64_t decoded_len)
#define WAZARR_DECODED_LEN(input, input_len) \
    WAZARR_EXPORT("decoded_len") int64_t wazarr_decoded_len(const uint8_t *input, size_t input_len)

#define WAZARR_CONFIGURE                                                               \
    static int32_t wazarr_on_configure(void);                                          \
    WAZARR_EXPORT("configure") int32_t wazarr_configure(const char *json, size_t len) \
    {                                                                                  \
        wazarr_keep_setup(json, len);                                                  \
        int32_t refused = wazarr_on_configure();                                       \
        return wazarr_has_failed ? -1 : refused;                                       \
    }                                                                                  \
    static int32_t wazarr_on_configure(void)

/* --- errors ----------------------------------------------------------------------------------- */

static char wazarr_error_buffer[256];
static bool wazarr_has_failed;

/* Says why decode, encode or configure fails: `return wazarr_error("the header is damaged");`. */
WAZARR_HELPER int64_t wazarr_error(const char *text)
{
    if (!wazarr_has_failed) /* a parameter that was refused is the better reason */
        strncpy(wazarr_error_buffer, text, sizeof wazarr_error_buffer - 1);
    return -1;
}

/* --- what the host calls ---------------------------------------------------------------------- */

#ifdef __wasm__
WAZARR_EXPORT("wazarr_abi") int32_t wazarr_abi(void)
{
    return 1;
}

WAZARR_EXPORT("alloc") void *wazarr_alloc(size_t len)
{
    return malloc(len ? len : 1); /* aligned to 16 bytes in wasi-libc */
}

WAZARR_EXPORT("dealloc") void wazarr_dealloc(void *pointer, size_t len)
{
    (void)len;
    free(pointer);
}

WAZARR_EXPORT("error_text") int64_t wazarr_error_text(void)
{
    return (int64_t)(uintptr_t)wazarr_error_buffer << 32 | (int64_t)strlen(wazarr_error_buffer);
}
#endif

/* --- parameters, data type and shape ---------------------------------------------------------- */

#define WAZARR_MOST_DIMENSIONS 64

/* What a chunk is on one side of the codec. */
typedef struct {
    char kind;        /* numpy's letter: b i u f c S U V M m */
    size_t item_size; /* bytes of one element */
    size_t dimensions;
    uint64_t shape[WAZARR_MOST_DIMENSIONS];
} wazarr_array;

static char *wazarr_setup_text;

WAZARR_HELPER const char *wazarr_json_space(const char *at)
{
    while (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')
        at++;
    return at;
}

/* Returns where the value that starts at `at` ends. */
WAZARR_HELPER const char *wazarr_json_end(const char *at)
{
    int depth = 0;
    do {
        at = wazarr_json_space(at);
        if (*at == '"') {
            for (at++; *at && *at != '"'; at++)
                at += *at == '\\' && at[1];
            at += *at == '"';
        } else if (*at == '{' || *at == '[') {
            depth++, at++;
        } else if (*at == '}' || *at == ']') {
            depth--, at++;
        } else if (*at == ',' || *at == ':') {
            at++;
        } else {
            while (*at && !strchr("\"{}[],: \t\r\n", *at))
                at++;
        }
    } while (*at && depth > 0);
    return at;
}

/* Returns the value of `name` in the object at `object`, or NULL. Names with escapes are not found. */
WAZARR_HELPER const char *wazarr_json_member(const char *object, const char *name)
{
    if (!object || *object != '{')
        return NULL;
    const char *at = wazarr_json_space(object + 1);
    while (*at == '"') {
        const char *key = at + 1;
        at = wazarr_json_end(at);
        size_t key_len = (size_t)(at - 1 - key);
        at = wazarr_json_space(at);
        if (*at != ':')
            return NULL;
        at = wazarr_json_space(at + 1);
        if (key_len == strlen(name) && !memcmp(key, name, key_len))
            return at;
        at = wazarr_json_space(wazarr_json_end(at));
        if (*at == ',')
            at = wazarr_json_space(at + 1);
    }
    return NULL;
}

WAZARR_HELPER void wazarr_keep_setup(const char *json, size_t len)
{
    free(wazarr_setup_text);
    wazarr_has_failed = false;
    wazarr_setup_text = malloc(len + 1);
    if (!wazarr_setup_text) {
        wazarr_error("no memory for the parameters");
        wazarr_has_failed = true;
        return;
    }
    memcpy(wazarr_setup_text, json, len);
    wazarr_setup_text[len] = 0;
}

/* Returns the JSON text of a parameter, or NULL when the metadata does not have it. */
WAZARR_HELPER const char *wazarr_parameter(const char *name)
{
    if (!wazarr_setup_text)
        return NULL;
    const char *setup = wazarr_json_space(wazarr_setup_text);
    return wazarr_json_member(wazarr_json_member(setup, "parameters"), name);
}

WAZARR_HELPER void wazarr_refuse(const char *name, const char *why)
{
    size_t room = sizeof wazarr_error_buffer - 1;
    if (wazarr_has_failed)
        return;
    wazarr_error("parameter ");
    strncat(wazarr_error_buffer, name, room - strlen(wazarr_error_buffer));
    strncat(wazarr_error_buffer, why, room - strlen(wazarr_error_buffer));
    wazarr_has_failed = true;
}

/* Returns an integer parameter. One that is not an integer from `least` to `most` fails the configuration. */
WAZARR_HELPER int64_t wazarr_integer(const char *name, int64_t otherwise, int64_t least, int64_t most)
{
    const char *text = wazarr_parameter(name);
    if (!text)
        return otherwise;
    char *end;
    int64_t value = strtoll(text, &end, 10);
    bool is_integer = end != text && strchr(",} \t\r\n", *end);
    if (!is_integer)
        wazarr_refuse(name, " is not an integer");
    else if (value < least || value > most)
        wazarr_refuse(name, " is out of range");
    else
        return value;
    return otherwise;
}

/* Returns a parameter that is a number. */
WAZARR_HELPER double wazarr_number(const char *name, double otherwise)
{
    const char *text = wazarr_parameter(name);
    if (!text)
        return otherwise;
    char *end;
    double value = strtod(text, &end);
    if (end != text && strchr(",} \t\r\n", *end))
        return value;
    wazarr_refuse(name, " is not a number");
    return otherwise;
}

/* Returns a parameter that is true or false. */
WAZARR_HELPER bool wazarr_boolean(const char *name, bool otherwise)
{
    const char *text = wazarr_parameter(name);
    if (!text)
        return otherwise;
    if (!strncmp(text, "true", 4) || !strncmp(text, "false", 5))
        return *text == 't';
    wazarr_refuse(name, " is neither true nor false");
    return otherwise;
}

/* Tells whether a parameter is the string `value`; `otherwise` when it is absent. */
WAZARR_HELPER bool wazarr_is_text(const char *name, const char *value, bool otherwise)
{
    const char *text = wazarr_parameter(name);
    if (!text)
        return otherwise;
    size_t len = strlen(value);
    return *text == '"' && !strncmp(text + 1, value, len) && text[1 + len] == '"';
}

WAZARR_HELPER wazarr_array wazarr_side(const char *side)
{
    wazarr_array array = {0};
    if (!wazarr_setup_text)
        return array;
    const char *object = wazarr_json_member(wazarr_json_space(wazarr_setup_text), side);
    const char *text = wazarr_json_member(object, "data_type");
    if (text && *text == '"' && text[1] && text[2]) { /* such as "<u2" */
        array.kind = text[2];
        array.item_size = strtoul(text + 3, NULL, 10) * (array.kind == 'U' ? 4 : 1);
    }
    const char *extent = wazarr_json_member(object, "shape");
    if (extent && *extent == '[') {
        extent = wazarr_json_space(extent + 1);
        while (*extent >= '0' && *extent <= '9' && array.dimensions < WAZARR_MOST_DIMENSIONS) {
            char *end;
            array.shape[array.dimensions++] = strtoull(extent, &end, 10);
            extent = wazarr_json_space(end);
            if (*extent == ',')
                extent = wazarr_json_space(extent + 1);
        }
    }
    return array;
}

/* Returns what the chunk is before encoding, and after decoding. */
WAZARR_HELPER wazarr_array wazarr_decoded_array(void)
{
    return wazarr_side("decoded");
}

/* Returns what the chunk is after encoding, and before decoding. */
WAZARR_HELPER wazarr_array wazarr_encoded_array(void)
{
    return wazarr_side("encoded");
}

#endif
