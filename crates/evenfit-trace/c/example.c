/* Records a few of its own allocations and sends them to the standard output:
 *   cc -I. example.c -o example && ./example > example.evt
 */
#include <stdio.h>
#include <stdlib.h>

#include "evt_record.h"

static evt_recorder recorder;
static uint8_t buffer[128];

static void to_stdout(void *context, const uint8_t *bytes, size_t len) { fwrite(bytes, 1, len, (FILE *)context); }

int main(void) {
    void *blocks[50];
    evt_begin(&recorder, to_stdout, stdout, buffer, sizeof buffer, 1000);
    evt_fact(&recorder, "program", "example");
    for (uint32_t i = 0; i < 50; i++) {
        evt_place(&recorder, 10 * i, i % 3, 1);
        blocks[i] = i % 2 ? malloc(10 * i) : calloc(1, 10 * i);
        if (!blocks[i]) return 1;
        evt_alloc(&recorder, (uintptr_t)blocks[i], 10 * i, 8, i % 2 == 0);
    }
    for (uint32_t i = 0; i < 50; i += 5) {
        uintptr_t from = (uintptr_t)blocks[i];
        void *block = realloc(blocks[i], 1000 + i);
        if (!block) return 1;
        blocks[i] = block;
        evt_realloc(&recorder, from, (uintptr_t)block, 1000 + i);
    }
    for (uint32_t i = 0; i < 50; i += 2) {
        evt_free(&recorder, (uintptr_t)blocks[i]);
        free(blocks[i]);
    }
    evt_name_site(&recorder, 1, 0, (uintptr_t)main, "main", "example.c");
    evt_finish(&recorder);
    return 0;
}
