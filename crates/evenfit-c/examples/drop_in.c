/* The three functions of a teaching allocator, on evenfit: the same names, the same types, and the
 * same 1024 bytes of pool. */
#include <evenfit.h>

static unsigned char memory[1024 + 1024];
static evf_heap *heap;

void initialize(void) {
    if (evf_init(memory, sizeof memory, &heap) != EVF_OK) heap = NULL;
}

void *allocate(size_t size) {
    return evf_alloc(heap, size);
}

void deallocate(void *pointer) {
    evf_free(heap, pointer);
}
