/* Every function of evenfit.h once; checked, so that it is a test as well.
 *
 *     cc example.c $(pkg-config --cflags --libs evenfit) -o example && ./example
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <evenfit.h>

static unsigned char memory[64 * 1024];
static unsigned char large_memory[4 * 1024 * 1024];
static int failures;

/* The library has slabs on 64-bit machines only. */
static const bool has_slabs = sizeof(void *) == 8;

#define EXPECT(condition) \
    ((condition) ? (void)0 : (void)(failures++, printf("line %d: not so: %s\n", __LINE__, #condition)))

struct counts {
    int acquired, released, misuses, asked;
    evf_status last;
    void *cache;
};

static void acquire(void *context) { ((struct counts *)context)->acquired++; }
static void release(void *context) { ((struct counts *)context)->released++; }

static void misused(void *context, evf_heap *heap, void *pointer, evf_status status) {
    struct counts *counts = context;
    (void)heap;
    (void)pointer;
    counts->misuses++;
    counts->last = status;
}

static bool drop_cache(void *context, evf_heap *heap, size_t bytes, uint32_t retries) {
    struct counts *counts = context;
    (void)bytes;
    (void)retries;
    counts->asked++;
    if (counts->cache == NULL) return false;
    evf_free(heap, counts->cache);
    counts->cache = NULL;
    return true;
}

static bool add_up(void *context, size_t offset_bytes, size_t bytes, evf_state state) {
    size_t *sums = context;
    (void)offset_bytes;
    sums[state] += bytes;
    return true;
}

/* The status tells a full pool from one that was overwritten. */
static void statuses(void) {
    struct counts counts = {0, 0, 0, 0, EVF_OK, NULL};
    void *block = &counts, *neighbour = NULL, *none = &counts;
    evf_heap *heap;
    if (evf_init(large_memory, sizeof memory, &heap) != EVF_OK) {
        failures++;
        return;
    }
    EXPECT(evf_set_misuse(heap, misused, &counts) == EVF_OK);
    EXPECT(evf_try_alloc(heap, 0, 1000, &block) == EVF_OK && block != NULL);
    EXPECT(evf_try_alloc(heap, 512, 1000, &neighbour) == EVF_OK && (uintptr_t)neighbour % 512 == 0);
    EXPECT(evf_try_alloc(heap, 3, 1000, &none) == EVF_BAD_ARGUMENT && none == NULL);
    EXPECT(evf_try_alloc(heap, 0, SIZE_MAX, &none) == EVF_TOO_LARGE);
    EXPECT(evf_try_alloc(heap, 0, evf_largest_free(heap) + 1, &none) == EVF_OUT_OF_MEMORY);
    EXPECT(evf_try_alloc(NULL, 0, 8, &none) == EVF_NOT_A_HEAP);
    EXPECT(evf_try_alloc(heap, 0, 8, NULL) == EVF_BAD_ARGUMENT);
    none = &counts;
    EXPECT(evf_try_realloc(heap, (char *)block + 8, 10, &none) == EVF_NOT_A_BLOCK && none == NULL);
    EXPECT(counts.misuses == 1);
    EXPECT(evf_try_realloc(heap, block, 900, &block) == EVF_OK && block != NULL);
    EXPECT(evf_free(heap, block) == EVF_OK);
    memset(block, 0xFF, 900); /* a late write, as by a dangling pointer */
    EXPECT(evf_try_alloc(heap, 0, 900, &none) == EVF_CORRUPT && none == NULL);
    EXPECT(counts.misuses == 2 && counts.last == EVF_CORRUPT);
    EXPECT(evf_alloc(heap, 900) == NULL && counts.misuses == 3);
}

static void blocks(evf_heap *heap) {
    unsigned char *first = evf_alloc(heap, 100);
    unsigned char *aligned = evf_alloc_aligned(heap, 256, 1000);
    unsigned char *zeroed = evf_calloc(heap, 50, 20);
    volatile size_t huge = SIZE_MAX; /* volatile, or the compiler sees through it by the attributes */
    int i;
    EXPECT(first && aligned && zeroed);
    EXPECT((uintptr_t)first % (2 * sizeof(void *)) == 0 && (uintptr_t)aligned % 256 == 0);
    EXPECT(evf_usable_size(heap, first) >= 100);
    for (i = 0; i < 1000; i++) EXPECT(zeroed[i] == 0);
    memset(first, 'a', 100);
    memset(aligned, 'b', 1000);
    first = evf_realloc(heap, first, 5000);
    EXPECT(first && first[0] == 'a' && first[99] == 'a');
    first = evf_realloc(heap, first, 10);
    EXPECT(first && first[9] == 'a');
    EXPECT(evf_calloc(heap, huge / 2, 3) == NULL);
    EXPECT(evf_alloc(heap, huge) == NULL);
    EXPECT(evf_alloc_aligned(heap, 24, 8) == NULL);
    EXPECT(evf_free(heap, NULL) == EVF_OK);
    EXPECT(evf_free_sized(heap, first, 10) == EVF_OK);
    EXPECT(evf_free_aligned_sized(heap, aligned, 256, 1000) == EVF_OK);
    EXPECT(evf_free(heap, zeroed) == EVF_OK);
}

/* In a large pool small blocks come from slabs; resized, they must still be freed by their size. */
static void small_blocks(void) {
    static void *slots[4000];
    size_t sums[4] = {0, 0, 0, 0}, i;
    evf_heap *heap;
    EXPECT(evf_init(large_memory, sizeof large_memory, &heap) == EVF_OK);
    for (i = 0; i < 4000; i++) {
        slots[i] = evf_alloc(heap, i % 300);
        EXPECT(slots[i] != NULL && (i % 300 <= 8 || (uintptr_t)slots[i] % (2 * sizeof(void *)) == 0));
        memset(slots[i], (int)(i % 251), i % 300);
    }
    EXPECT(evf_walk(heap, add_up, sums) == EVF_OK && (sums[EVF_SLAB] > 0) == has_slabs);
    for (i = 0; i < 4000; i++) {
        size_t before = i % 300, after = i * 7 % 300, kept = before < after ? before : after, j;
        unsigned char *slot = evf_realloc(heap, slots[i], after);
        EXPECT(slot != NULL);
        for (j = 0; j < kept; j++) EXPECT(slot[j] == i % 251);
        EXPECT(evf_free_sized(heap, slot, after) == EVF_OK);
    }
    EXPECT(evf_check(heap) == EVF_OK);
}

/* In a full pool a block can still shrink, and grow into free memory before it. */
static void full_pool(evf_heap *heap) {
    unsigned char *before = evf_alloc(heap, 10000), *block = evf_alloc(heap, 20000), *grown;
    size_t aligned = evf_largest_free_aligned(heap, 4096);
    EXPECT(aligned > 0 && aligned < evf_largest_free(heap) && evf_largest_free_aligned(heap, 48) == 0);
    EXPECT(evf_alloc_aligned(heap, 4096, aligned + 1) == NULL);
    while (evf_alloc(heap, evf_largest_free(heap)) != NULL && evf_largest_free(heap) > 0) continue;
    memset(block, 'd', 20000);
    EXPECT(evf_realloc(heap, block, 25000) == NULL && block[19999] == 'd');
    EXPECT(evf_free(heap, before) == EVF_OK);
    grown = evf_realloc(heap, block, 25000);
    EXPECT(grown == before && grown[0] == 'd' && grown[19999] == 'd');
    EXPECT(evf_realloc(heap, grown, 300) == grown);
    EXPECT(evf_free_sized(heap, grown, 300) == EVF_OK && evf_check(heap) == EVF_OK);
    EXPECT(evf_reset(heap) == EVF_OK);
}

/* A second bank of memory is added when the first is full. */
static bool add_bank(void *context, evf_heap *heap, size_t bytes, uint32_t retries) {
    (void)bytes;
    return retries == 0 && evf_extend(heap, *(size_t *)context) > 0;
}

static void misuse(evf_heap *heap, struct counts *counts) {
    int local = 0;
    char *block = evf_alloc(heap, 200);
    evf_set_misuse(heap, misused, counts);
    EXPECT(evf_free_sized(heap, block, 900) == EVF_WRONG_LAYOUT);
    EXPECT(evf_free(heap, block + 16) == EVF_NOT_A_BLOCK);
    EXPECT(evf_free(heap, &local) == EVF_OUTSIDE_POOL);
    EXPECT(evf_realloc(heap, &local, 10) == NULL);
    EXPECT(evf_free(heap, block) == EVF_OK);
    EXPECT(evf_free(heap, block) == EVF_ALREADY_FREE);
    EXPECT(counts->misuses == 5 && counts->last == EVF_ALREADY_FREE);
    EXPECT(evf_free((evf_heap *)(void *)&counts->misuses, block) == EVF_NOT_A_HEAP);
    EXPECT(evf_free(NULL, block) == EVF_NOT_A_HEAP);
    printf("a double free is refused: %s\n", evf_message(counts->last));
}

static void out_of_memory(evf_heap *heap, struct counts *counts) {
    void *block;
    counts->cache = evf_alloc(heap, 40000);
    EXPECT(counts->cache != NULL);
    evf_set_out_of_memory(heap, drop_cache, counts);
    block = evf_alloc(heap, 50000);
    EXPECT(block != NULL && counts->asked == 1);
    EXPECT(evf_alloc(heap, 50000) == NULL && counts->asked == 2);
    EXPECT(evf_free(heap, block) == EVF_OK);
}

/* Options are read up to `struct_bytes`, and refused if they are invalid. */
static void options(void) {
    evf_options_t options = {sizeof(evf_options_t), EVF_BLOCKS_ONLY, 0};
    struct {
        evf_options_t known;
        size_t newer;
    } newer;
    size_t told = sizeof told, sums[4] = {0, 0, 0, 0}, small = sizeof large_memory / 4;
    evf_heap *heap;

    EXPECT(evf_init_with(large_memory, sizeof large_memory, &options, &heap) == EVF_OK);
    EXPECT(evf_extend(heap, 4096) == 0);
    EXPECT(evf_alloc(heap, 40) != NULL);
    EXPECT(evf_walk(heap, add_up, sums) == EVF_OK && sums[EVF_SLAB] == 0 && sums[EVF_USED] >= 40);

    options.tiers = EVF_WITH_SLABS;
    if (has_slabs) {
        EXPECT(evf_init_with(memory, sizeof memory, &options, &heap) == EVF_OK);
        EXPECT(evf_alloc(heap, 40) != NULL);
        EXPECT(evf_walk(heap, add_up, sums) == EVF_OK && sums[EVF_SLAB] > 0);
    } else {
        EXPECT(evf_init_with(memory, sizeof memory, &options, &heap) == EVF_NO_SLABS && heap == NULL);
    }

    options.tiers = 3;
    EXPECT(evf_init_with(memory, sizeof memory, &options, &heap) == EVF_BAD_ARGUMENT && heap == NULL);
    options.struct_bytes = 1;
    EXPECT(evf_init_with(memory, sizeof memory, &options, &heap) == EVF_BAD_ARGUMENT);
    EXPECT(evf_init_with(memory, sizeof memory, (evf_options_t *)&told, &heap) == EVF_OK);
    EXPECT(evf_init_with(memory, sizeof memory, NULL, &heap) == EVF_OK);
    memset(&newer, 0, sizeof newer);
    newer.known.struct_bytes = sizeof newer;
    EXPECT(evf_init_with(memory, sizeof memory, &newer.known, &heap) == EVF_OK);
    newer.newer = 1;
    EXPECT(evf_init_with(memory, sizeof memory, &newer.known, &heap) == EVF_BAD_ARGUMENT);

    options.struct_bytes = sizeof options;
    options.tiers = EVF_TIERS_AUTO;
    options.max_bytes = sizeof large_memory;
    EXPECT(evf_init_with(large_memory, small, &options, &heap) == EVF_OK);
    EXPECT(evf_alloc(heap, small) == NULL);
    told = evf_largest_free(heap);
    EXPECT(evf_extend(heap, sizeof large_memory - small) > sizeof large_memory / 2);
    EXPECT(evf_largest_free(heap) > told + sizeof large_memory / 2);
    EXPECT(evf_alloc(heap, small) != NULL && evf_check(heap) == EVF_OK);
    EXPECT(evf_extend(heap, 4096) == 0 && evf_extend(NULL, 4096) == 0);

    EXPECT(evf_init_with(large_memory, small, &options, &heap) == EVF_OK);
    told = sizeof large_memory - small;
    EXPECT(evf_set_out_of_memory(heap, add_bank, &told) == EVF_OK);
    EXPECT(evf_alloc(heap, 2 * small) != NULL && evf_check(heap) == EVF_OK);
    EXPECT(evf_alloc(heap, 2 * small) == NULL);
}

int main(void) {
    struct counts counts = {0, 0, 0, 0, EVF_OK, NULL};
    evf_lock_t lock = {acquire, release, NULL};
    evf_stats_t stats;
    size_t sums[4] = {0, 0, 0, 0};
    evf_heap *heap;

    lock.context = &counts;
    EXPECT(evf_init(memory, 40, &heap) == EVF_REGION_TOO_SMALL && heap == NULL);
    EXPECT(evf_init(NULL, 40, &heap) == EVF_BAD_ARGUMENT);
    options();
    if (evf_init(memory + 1, sizeof memory - 1, &heap) != EVF_OK) return 1;
    EXPECT(evf_set_lock(heap, &lock) == EVF_OK);

    blocks(heap);
    full_pool(heap);
    small_blocks();
    statuses();
    misuse(heap, &counts);
    out_of_memory(heap, &counts);

    EXPECT(counts.acquired > 20 && counts.acquired == counts.released);
    EXPECT(evf_check(heap) == EVF_OK);
    stats.struct_bytes = sizeof stats;
    EXPECT(evf_stats(heap, &stats) == EVF_OK);
    EXPECT(stats.struct_bytes == sizeof stats);
    EXPECT(stats.used_bytes == 0 && stats.live_blocks == 0);
    EXPECT(stats.pool_bytes == stats.free_bytes && evf_largest_free(heap) == stats.pool_bytes);
    EXPECT(stats.refused_frees == 5);
    EXPECT(stats.pool_bytes + stats.metadata_bytes + evf_control_bytes(sizeof memory) >= sizeof memory - 16);
    EXPECT(evf_alloc(heap, 100) != NULL);
    EXPECT(evf_walk(heap, add_up, sums) == EVF_OK);
    EXPECT(sums[EVF_USED] >= 100 && sums[EVF_USED] + sums[EVF_FREE] + sums[EVF_TOP] == stats.pool_bytes);
    EXPECT(evf_reset(heap) == EVF_OK && evf_largest_free(heap) == stats.pool_bytes);
    stats.struct_bytes = sizeof(size_t);
    stats.used_bytes = 77;
    EXPECT(evf_stats(heap, &stats) == EVF_OK && stats.used_bytes == 77);
    printf("%lu of %lu bytes are for blocks; %d failures\n", (unsigned long)stats.pool_bytes,
           (unsigned long)sizeof memory, failures);
    return failures != 0;
}
