/* One fault at a time, named by the argument. Prints the address that it is about to touch. */

#include <evenfit.h>
#include <stdio.h>
#include <string.h>

static unsigned char memory[2 << 20];

/* Reads one byte, which the compiler may not leave out. */
static void touch(const unsigned char *at) {
    printf("at 0x%llx\n", (unsigned long long)(uintptr_t)at);
    fflush(stdout);
    (void)*(const volatile unsigned char *)at;
}

/* Right in all: every byte of every block is written. */
static int silent(evf_heap *heap) {
    unsigned char *small = evf_alloc(heap, 24), *large = evf_calloc(heap, 3, 1000);
    unsigned char *aligned = evf_alloc_aligned(heap, 4096, 100);
    if (!small || !large || !aligned) return 1;
    memset(small, 1, 24);
    memset(large, 2, 3000);
    memset(aligned, 3, 100);
    small = evf_realloc(heap, small, 5000);
    if (!small || small[23] != 1) return 1;
    memset(small, 4, 5000);
    if (evf_usable_size(heap, small) < 5000 || evf_check(heap) != EVF_OK) return 1;
    if (evf_free(heap, small) || evf_free_sized(heap, large, 3000) || evf_free(heap, aligned)) return 1;
    if (evf_reset(heap) != EVF_OK) return 1;
    puts("silent");
    return 0;
}

static void *kept;

/* Loses a slot and a block. The first slot is kept: memcheck can't tell a block at the pool's start
 * from the pool. */
__attribute__((noinline)) static int lose(evf_heap *heap) {
    kept = evf_alloc(heap, 100);
    return !kept || !evf_alloc(heap, 100) || !evf_alloc(heap, 1001);
}

/* Overwrites what calls left on the stack: memcheck takes it for pointers. */
__attribute__((noinline)) static void scrub(void) {
    volatile unsigned char stack[4096];
    for (size_t at = 0; at < sizeof stack; at++) stack[at] = 0;
}

int main(int count, char **arguments) {
    const char *fault = count > 1 ? arguments[1] : "";
    evf_heap *heap;
    if (evf_init(memory, sizeof memory, &heap) != EVF_OK) return 1;
    if (!strcmp(fault, "none")) return silent(heap);
    if (!strcmp(fault, "leak")) {
        int lost = lose(heap);
        scrub();
        return lost;
    }

    unsigned char *slot = evf_alloc(heap, 100), *block = evf_alloc(heap, 1001);
    if (!slot || !block) return 1;
    memset(slot, 1, 100);
    memset(block, 2, 1001);
    if (!strcmp(fault, "slot-after-free")) {
        if (evf_free(heap, slot)) return 1;
        touch(slot + 1);
    } else if (!strcmp(fault, "block-after-free")) {
        if (evf_free(heap, block)) return 1;
        touch(block + 500);
    } else if (!strcmp(fault, "block-after-sized-free")) {
        if (evf_free_sized(heap, block, 1001)) return 1;
        touch(block);
    } else if (!strcmp(fault, "slot-overrun")) {
        touch(slot + 100);
    } else if (!strcmp(fault, "block-overrun")) {
        touch(block + 1001);
    } else if (!strcmp(fault, "after-moving")) {
        if (!evf_alloc(heap, 600) || !evf_realloc(heap, block, 100000)) return 1;
        touch(block);
    } else if (!strcmp(fault, "after-reset")) {
        if (evf_reset(heap)) return 1;
        touch(block);
    } else if (!strcmp(fault, "never-allocated")) {
        touch(memory + sizeof memory / 2);
    } else {
        fprintf(stderr, "no such fault: %s\n", fault);
        return 2;
    }
    return 0;
}
