/* Any codec written for <wazarr_codec.h>, behind chonkle's interfaces: for tests and comparisons.
 *
 *     cc -include chonkle.h -DCHONKLE_INTERFACE='"D"' … codec.c
 *
 * gives a core module whose functions take and give port maps (D, and with a signature E); with
 * -DCHONKLE_COMPONENT the core module inside a component (C and E), which componentize.py wraps. The
 * parameters of the codec arrive as ports, each as JSON text, and are put together for its configuration.
 *
 * The codec's source is read as if for another target than Wasm, so that it exports nothing itself.
 */
#ifndef CHONKLE_H
#define CHONKLE_H

#undef __wasm__
#include <wazarr_codec.h>
#define __wasm__ 1

#define CHONKLE_EXPORT(name) __attribute__((export_name(name), visibility("default")))

int64_t wazarr_decode(const uint8_t *restrict in, size_t in_len, uint8_t *restrict out, size_t out_len);
int64_t wazarr_encode(const uint8_t *restrict in, size_t in_len, uint8_t *restrict out, size_t out_len);
/* A codec without parameters has none. */
__attribute__((weak)) int32_t wazarr_configure(const char *json, size_t len);

/* A port: its name and data, neither ending with a zero. */
typedef struct {
    const uint8_t *name;
    size_t name_len;
    const uint8_t *data;
    size_t data_len;
} chonkle_port;

static int chonkle_is_data(const chonkle_port *port)
{
    return port->name_len == 5 && !memcmp(port->name, "bytes", 5);
}

/* Hands every port but the data's to the codec, as one JSON object. */
static int32_t chonkle_configure(const chonkle_port *ports, size_t count)
{
    size_t len = 32;
    for (size_t at = 0; at < count; at++)
        len += chonkle_is_data(ports + at) ? 0 : ports[at].name_len + ports[at].data_len + 8;
    char *json = malloc(len), *end = json;
    if (!json)
        return -1;
    end += strlen(strcpy(end, "{\"parameters\": {"));
    for (size_t at = 0, is_first = 1; at < count; at++) {
        const chonkle_port *port = ports + at;
        if (chonkle_is_data(port))
            continue;
        end += strlen(strcpy(end, is_first ? "\"" : ", \""));
        end = (char *)memcpy(end, port->name, port->name_len) + port->name_len;
        end += strlen(strcpy(end, "\": "));
        end = (char *)memcpy(end, port->data, port->data_len) + port->data_len;
        is_first = 0;
    }
    end += strlen(strcpy(end, "}}"));
    int32_t refused = wazarr_configure ? wazarr_configure(json, (size_t)(end - json)) : 0;
    free(json);
    return refused;
}

/* Runs the codec on the data, with as much room as it turns out to need. `prefix` is left free in front. */
static uint8_t *chonkle_run(int is_decode, const chonkle_port *ports, size_t count, size_t prefix, size_t *len)
{
    const chonkle_port *data = ports;
    while (data < ports + count && !chonkle_is_data(data))
        data++;
    if (data == ports + count) {
        wazarr_error("there is no port named bytes");
        return NULL;
    }
    if (chonkle_configure(ports, count))
        return NULL;
    for (size_t room = data->data_len + data->data_len / 2 + 1024; room < 0x40000000; room *= 2) {
        uint8_t *out = malloc(prefix + room);
        if (!out)
            break;
        int64_t written = is_decode ? wazarr_decode(data->data, data->data_len, out + prefix, room)
                                    : wazarr_encode(data->data, data->data_len, out + prefix, room);
        if (written >= 0) {
            *len = (size_t)written;
            return out;
        }
        free(out);
        if (written != WAZARR_OUTPUT_TOO_SMALL)
            return NULL;
    }
    wazarr_error("no memory for the result");
    return NULL;
}

#ifdef CHONKLE_COMPONENT

/* --- as the component model lays values out: C, E ---------------------------------------------------- */

CHONKLE_EXPORT("cabi_realloc") void *chonkle_realloc(void *old, size_t old_len, size_t align, size_t len)
{
    (void)old_len, (void)align;
    return len ? realloc(old, len) : (void *)align;
}

/* result<list<tuple<string, list<u8>>>, string>, and the one port that the list holds */
typedef struct {
    uint32_t is_error;
    const void *pointer;
    size_t len;
    chonkle_port port;
} chonkle_answer;

static chonkle_answer *chonkle_call(int is_decode, chonkle_port *ports, size_t count)
{
    static chonkle_answer answer;
    size_t len = 0;
    wazarr_has_failed = 0;
    memset(wazarr_error_buffer, 0, sizeof wazarr_error_buffer);
    uint8_t *out = chonkle_run(is_decode, ports, count, 0, &len);
    for (size_t at = 0; at < count; at++) {
        free(ports[at].name_len ? (void *)ports[at].name : NULL);
        free(ports[at].data_len ? (void *)ports[at].data : NULL);
    }
    free(count ? ports : NULL);
    if (out)
        answer = (chonkle_answer){0, &answer.port, 1, {(const uint8_t *)"bytes", 5, out, len}};
    else
        answer = (chonkle_answer){1, wazarr_error_buffer, strlen(wazarr_error_buffer), {0}};
    return &answer;
}

CHONKLE_EXPORT("decode") void *chonkle_decode(chonkle_port *ports, size_t count)
{
    return chonkle_call(1, ports, count);
}

CHONKLE_EXPORT("encode") void *chonkle_encode(chonkle_port *ports, size_t count)
{
    return chonkle_call(0, ports, count);
}

CHONKLE_EXPORT("post") void chonkle_post(chonkle_answer *answer)
{
    free((void *)answer->port.data);
    answer->port.data = NULL;
}

#ifdef CHONKLE_SIGNATURE
CHONKLE_EXPORT("signature") void *chonkle_signature(void)
{
    static struct {
        const char *pointer;
        size_t len;
    } text = {CHONKLE_SIGNATURE, sizeof CHONKLE_SIGNATURE - 1};
    return &text;
}
#endif

#else

/* --- port maps in linear memory: D, E ----------------------------------------------------------------- */

CHONKLE_EXPORT("alloc") void *chonkle_alloc(size_t len)
{
    return malloc(len ? len : 1);
}

CHONKLE_EXPORT("dealloc") void chonkle_dealloc(void *pointer, size_t len)
{
    (void)len;
    free(pointer);
}

static uint32_t chonkle_word(const uint8_t **at, const uint8_t *end)
{
    uint32_t word = 0;
    if (end - *at < 4) {
        *at = NULL;
        return 0;
    }
    memcpy(&word, *at, 4);
    *at += 4;
    return word;
}

static const uint8_t *chonkle_part(const uint8_t **at, const uint8_t *end, size_t *len)
{
    *len = *at ? chonkle_word(at, end) : 0;
    const uint8_t *part = *at;
    if (!part || (size_t)(end - part) < *len)
        return *at = NULL;
    *at += *len;
    return part;
}

static uint64_t chonkle_call(int is_decode, uint8_t *map, size_t map_len)
{
    enum { MOST_PORTS = 64 };
    static const uint8_t head[] = {1, 0, 0, 0, 5, 0, 0, 0, 'b', 'y', 't', 'e', 's'};
    chonkle_port ports[MOST_PORTS];
    const uint8_t *at = map, *end = map + map_len;
    size_t count = chonkle_word(&at, end), len = 0, prefix = sizeof head + 4;
    uint8_t *out = NULL;
    wazarr_has_failed = 0;
    for (size_t port = 0; at && count <= MOST_PORTS && port < count; port++) {
        ports[port].name = chonkle_part(&at, end, &ports[port].name_len);
        ports[port].data = at ? chonkle_part(&at, end, &ports[port].data_len) : NULL;
    }
    if (at && count <= MOST_PORTS)
        out = chonkle_run(is_decode, ports, count, prefix, &len);
    free(map);
    if (!out)
        return 0;
    uint32_t data_len = (uint32_t)len;
    memcpy(out, head, sizeof head);
    memcpy(out + sizeof head, &data_len, 4);
    return (uint64_t)(uintptr_t)out << 32 | (uint32_t)(prefix + len);
}

CHONKLE_EXPORT("decode") uint64_t chonkle_decode(uint8_t *map, size_t len)
{
    return chonkle_call(1, map, len);
}

CHONKLE_EXPORT("encode") uint64_t chonkle_encode(uint8_t *map, size_t len)
{
    return chonkle_call(0, map, len);
}

#ifdef CHONKLE_SIGNATURE
CHONKLE_EXPORT("signature") uint64_t chonkle_signature(void)
{
    return (uint64_t)(uintptr_t)CHONKLE_SIGNATURE << 32 | (sizeof CHONKLE_SIGNATURE - 1);
}
#endif

#endif
#endif
