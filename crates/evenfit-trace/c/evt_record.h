/* Records a program's calls to its allocator as an .evt file (docs/trace-format.md), which is sent
 * chunk by chunk to any sink of bytes. C99, no allocation. Its memory is this structure and one
 * buffer of at least EVT_BUFFER_MIN bytes.
 *
 * Call evt_alloc right after an allocation and evt_free right before a free. With threads, do both
 * under one lock. Addresses are passed as numbers, so that the old address of a reallocation may be
 * passed after the block has moved.
 */
#ifndef EVT_RECORD_H
#define EVT_RECORD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    EVT_CHUNK_HEADER = 16,
    EVT_ENTRY_MAX = 60,
    EVT_BUFFER_MIN = EVT_CHUNK_HEADER + EVT_ENTRY_MAX,
    EVT_DEFAULT_ALIGN_LOG2 = 3
};

enum { EVT_ADDRESSED = 2, EVT_SITES = 3, EVT_FACTS = 4, EVT_END = 5 };
enum { EVT_ALLOC, EVT_FREE, EVT_REALLOC, EVT_ALLOC_WITH, EVT_TIME, EVT_THREAD, EVT_SITE };

typedef void evt_sink(void *context, const uint8_t *bytes, size_t len);

typedef struct {
    evt_sink *sink;
    void *context;
    uint8_t *buffer;
    size_t capacity, len;
    uint64_t address, events, allocations;
    uint64_t time, time_written;
    uint32_t thread, thread_written;
    uint32_t site, site_written;
    uint16_t sequence;
} evt_recorder;

typedef struct {
    uint8_t bytes[EVT_ENTRY_MAX];
    size_t len;
} evt_entry;

static inline uint32_t evt_crc(uint32_t crc, const uint8_t *bytes, size_t len) {
    crc = ~crc;
    while (len--) {
        crc ^= *bytes++;
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1u)));
    }
    return ~crc;
}

static inline void evt_put_le(uint8_t *out, uint64_t value, int len) {
    for (int i = 0; i < len; i++) out[i] = (uint8_t)(value >> (8 * i));
}

static inline void evt_number(evt_entry *entry, uint64_t value) {
    for (; value > 0x7f; value >>= 7) entry->bytes[entry->len++] = (uint8_t)(value | 0x80);
    entry->bytes[entry->len++] = (uint8_t)value;
}

static inline void evt_first(evt_entry *entry, unsigned kind, uint64_t operand) {
    evt_number(entry, operand << 3 | kind);
}

/* Sends the chunk being filled as one of `kind`. */
static inline void evt_send(evt_recorder *r, uint8_t kind) {
    uint8_t *header = r->buffer;
    uint32_t data_len = (uint32_t)(r->len - EVT_CHUNK_HEADER);
    if (data_len == 0) return;
    header[0] = kind;
    header[1] = 0;
    evt_put_le(header + 2, r->sequence++, 2);
    evt_put_le(header + 4, data_len, 4);
    evt_put_le(header + 8, data_len, 4);
    evt_put_le(header + 12, evt_crc(evt_crc(0, header, 12), header + EVT_CHUNK_HEADER, data_len), 4);
    r->sink(r->context, r->buffer, r->len);
    r->len = EVT_CHUNK_HEADER;
}

/* Sends the events so far, so that they aren't lost if the program is killed. */
static inline void evt_flush(evt_recorder *r) { evt_send(r, EVT_ADDRESSED); }

/* Begins a recording: sends the file header. `capacity` is at least EVT_BUFFER_MIN and at most
 * 4 MiB. */
static inline void evt_begin(evt_recorder *r, evt_sink *sink, void *context, void *buffer, size_t capacity,
                             uint64_t tick_hz) {
    uint8_t header[24] = {0x89, 'E', 'V', 'T', '\r', '\n', 0x1a, '\n', 1, 0, EVT_DEFAULT_ALIGN_LOG2, 0};
    memset(r, 0, sizeof *r);
    r->sink = sink;
    r->context = context;
    r->buffer = (uint8_t *)buffer;
    r->capacity = capacity;
    r->len = EVT_CHUNK_HEADER;
    evt_put_le(header + 12, tick_hz, 8);
    evt_put_le(header + 20, evt_crc(0, header, 20), 4);
    sink(context, header, sizeof header);
}

static inline void evt_put(evt_recorder *r, const void *bytes, size_t len) {
    memcpy(r->buffer + r->len, bytes, len);
    r->len += len;
}

static inline void evt_append(evt_recorder *r, const evt_entry *entry) {
    if (r->len + entry->len > r->capacity) evt_flush(r);
    evt_put(r, entry->bytes, entry->len);
}

/* Sets the time, thread and call site of the following events; 0 for unknown. If the clock goes back,
 * the events have the last time. */
static inline void evt_place(evt_recorder *r, uint64_t ticks, uint32_t thread, uint32_t site) {
    r->time = ticks;
    r->thread = thread;
    r->site = site;
}

static inline evt_entry evt_entry_begin(evt_recorder *r) {
    evt_entry entry = {{0}, 0};
    if (r->time > r->time_written) {
        evt_first(&entry, EVT_TIME, r->time - r->time_written);
        r->time_written = r->time;
    }
    if (r->thread != r->thread_written) evt_first(&entry, EVT_THREAD, r->thread);
    if (r->site != r->site_written) evt_first(&entry, EVT_SITE, r->site);
    r->thread_written = r->thread;
    r->site_written = r->site;
    r->events++;
    return entry;
}

/* The difference to the address before it: 0, -1, 1, -2, ... as 0, 1, 2, 3, ... */
static inline uint64_t evt_way(evt_recorder *r, uintptr_t address) {
    uint64_t to = (uint64_t)address & (UINT64_MAX >> 4), difference = to - r->address;
    r->address = to;
    return (difference << 1) ^ (0 - (difference >> 63));
}

/* Records that a block of `size` bytes was allocated at `address`; `align` is a power of two;
 * `zeroed` is 1 for calloc. */
static inline void evt_alloc(evt_recorder *r, uintptr_t address, size_t size, size_t align, int zeroed) {
    evt_entry entry = evt_entry_begin(r);
    uint8_t align_log2 = 0;
    while (align_log2 < 31 && ((size_t)1 << align_log2) < align) align_log2++;
    if (align_log2 == EVT_DEFAULT_ALIGN_LOG2 && !zeroed) {
        evt_first(&entry, EVT_ALLOC, size);
    } else {
        evt_first(&entry, EVT_ALLOC_WITH, size);
        entry.bytes[entry.len++] = (uint8_t)(align_log2 | (zeroed ? 0x40 : 0));
    }
    evt_number(&entry, evt_way(r, address));
    r->allocations++;
    evt_append(r, &entry);
}

/* Records that the block at `address` is about to be freed. */
static inline void evt_free(evt_recorder *r, uintptr_t address) {
    evt_entry entry = evt_entry_begin(r);
    evt_first(&entry, EVT_FREE, evt_way(r, address));
    evt_append(r, &entry);
}

/* Records that the block at `from` has become one of `size` bytes at `to`. */
static inline void evt_realloc(evt_recorder *r, uintptr_t from, uintptr_t to, size_t size) {
    evt_entry entry = evt_entry_begin(r);
    evt_first(&entry, EVT_REALLOC, evt_way(r, from));
    evt_number(&entry, size);
    evt_number(&entry, evt_way(r, to));
    evt_append(r, &entry);
}

/* Sends `start` and two texts as a chunk. Returns 1, or 0 if the buffer is too short; then nothing is
 * sent. */
static inline int evt_notes(evt_recorder *r, uint8_t kind, const evt_entry *start, const char *a, const char *b) {
    evt_entry a_len = {{0}, 0}, b_len = {{0}, 0};
    size_t room = r->capacity - EVT_CHUNK_HEADER - start->len - 20, used = strlen(a);
    if (r->capacity < EVT_BUFFER_MIN || used > room || strlen(b) > room - used) return 0;
    evt_number(&a_len, used);
    evt_number(&b_len, strlen(b));
    evt_flush(r);
    evt_put(r, start->bytes, start->len);
    evt_put(r, a_len.bytes, a_len.len);
    evt_put(r, a, used);
    evt_put(r, b_len.bytes, b_len.len);
    evt_put(r, b, strlen(b));
    evt_send(r, kind);
    return 1;
}

/* Adds a key and its value about the recording, in UTF-8. Returns 0 if the buffer is too short. */
static inline int evt_fact(evt_recorder *r, const char *key, const char *value) {
    evt_entry none = {{0}, 0};
    return evt_notes(r, EVT_FACTS, &none, key, value);
}

/* Names a call site, in UTF-8. Returns 0 if the buffer is too short. `parent` is the site that called
 * it, or 0 if unknown. */
static inline int evt_name_site(evt_recorder *r, uint32_t site, uint32_t parent, uintptr_t address, const char *name,
                                const char *location) {
    evt_entry entry = {{0}, 0};
    evt_number(&entry, site);
    evt_number(&entry, parent);
    evt_number(&entry, address);
    return evt_notes(r, EVT_SITES, &entry, name, location);
}

/* Sends the remaining events and the end mark. */
static inline void evt_finish(evt_recorder *r) {
    evt_entry totals = {{0}, 0};
    evt_flush(r);
    evt_number(&totals, r->events);
    evt_number(&totals, r->allocations);
    evt_put(r, totals.bytes, totals.len);
    evt_send(r, EVT_END);
}

#endif
