/* evenfit: a real-time memory manager over one fixed pool.
 * Generated from crates/evenfit-c/src; a test fails when the two differ. Do not edit.
 *
 *     static unsigned char memory[65536];
 *     evf_heap *heap;
 *     if (evf_init(memory, sizeof memory, &heap) != EVF_OK) return 1;
 *     void *block = evf_alloc(heap, 100);
 *     evf_free(heap, block);
 */

#ifndef EVENFIT_H
#define EVENFIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* What the compiler may know of a function, where it can be told. */
#if defined(__GNUC__) || defined(__clang__)
#define EVF_MALLOC __attribute__((malloc))
#define EVF_ALLOC_SIZE(...) __attribute__((alloc_size(__VA_ARGS__)))
#define EVF_ALLOC_ALIGN(position) __attribute__((alloc_align(position)))
#define EVF_NODISCARD __attribute__((warn_unused_result))
#else
#define EVF_MALLOC
#define EVF_ALLOC_SIZE(...)
#define EVF_ALLOC_ALIGN(position)
#define EVF_NODISCARD
#endif

// The result of a call. Unless it is EVF_OK, the call has not changed the heap.
typedef enum evf_status {
  // Done.
  EVF_OK = 0,
  // The heap is a null pointer, or memory without a heap in it.
  EVF_NOT_A_HEAP = 1,
  // An invalid pointer or number, for example an alignment that is no power of two.
  EVF_BAD_ARGUMENT = 2,
  // The memory is too small for the control structure, the pool's metadata and one block.
  EVF_REGION_TOO_SMALL = 3,
  // The memory is larger than a heap can manage.
  EVF_REGION_TOO_LARGE = 4,
  // No free block is large enough now.
  EVF_OUT_OF_MEMORY = 5,
  // The request is larger than the whole pool.
  EVF_TOO_LARGE = 6,
  // The pointer is not inside this pool.
  EVF_OUTSIDE_POOL = 7,
  // The pointer is inside the pool but is not the start of a block.
  EVF_NOT_A_BLOCK = 8,
  // The block is free already: a double free.
  EVF_ALREADY_FREE = 9,
  // A live block starts there, but it was allocated with another size or alignment.
  EVF_WRONG_LAYOUT = 10,
  // A free block or the pool's metadata was overwritten.
  EVF_CORRUPT = 11,
  // Slabs were asked for, and this library has none: it is one for a 32-bit machine.
  EVF_NO_SLABS = 12,
} evf_status;

// The state of a piece of the pool.
typedef enum evf_state {
  // A live block.
  EVF_USED = 0,
  // A free block.
  EVF_FREE = 1,
  // The unused tail of the pool: never used, or freed.
  EVF_TOP = 2,
  // A block cut into equal slots for small requests; some may be free.
  EVF_SLAB = 3,
} evf_state;

// Whether small requests are served from slabs: the values of `evf_options_t`'s `tiers`.
typedef enum evf_tiers {
  // Slabs from 1 MiB of memory on, where they are faster; blocks only below, and on 32-bit
  // machines.
  EVF_TIERS_AUTO = 0,
  // Blocks only: slower for small requests, but with the smallest footprint.
  EVF_BLOCKS_ONLY = 1,
  // Slabs, however long the memory is. A library for a 32-bit machine has none.
  EVF_WITH_SLABS = 2,
} evf_tiers;

// A heap in the caller's memory: this head, then the heap's own control structure, then the pool.
typedef struct evf_heap evf_heap;

// The options of a heap; zero is the default of every field. Set `struct_bytes` to
// `sizeof(evf_options_t)`. Fields that your program doesn't know then have their defaults, and an
// older library refuses fields that it doesn't know, unless they are zero.
typedef struct evf_options_t {
  // The length of this structure in bytes.
  size_t struct_bytes;
  // An `evf_tiers`.
  int tiers;
  // The length in bytes that the memory may reach by `evf_extend`; 0 if it stays as it is. The
  // metadata is made for this length.
  size_t max_bytes;
} evf_options_t;

// A lock, by which one thread at a time uses a heap. `context` is passed to both functions.
//
// A thread that holds it never acquires it again. It is held for one bounded heap operation, but
// not while payload is zeroed or copied (see `evf_realloc` for an exception), and not while a
// callback runs.
typedef struct evf_lock_t {
  // Waits until the lock is free, and acquires it.
  void (*acquire)(void *context);
  // Releases it.
  void (*release)(void *context);
  // A pointer of your choice.
  void *context;
} evf_lock_t;

// A heap's counters. Set `struct_bytes` to `sizeof(evf_stats_t)` before the call. A newer library
// then doesn't write beyond it, and sets it to the bytes that it wrote.
typedef struct evf_stats_t {
  // In: the size of this structure. Out: the bytes written.
  size_t struct_bytes;
  // Bytes that blocks can be cut from.
  size_t pool_bytes;
  // Bytes of metadata and of padding, without the control structure.
  size_t metadata_bytes;
  // Bytes in live blocks, as the heap rounds them.
  size_t used_bytes;
  // The most bytes ever in use at once.
  size_t peak_used_bytes;
  // Bytes not in live blocks.
  size_t free_bytes;
  // How many blocks are live.
  size_t live_blocks;
  // Requests that failed.
  uint64_t failed_requests;
  // Frees and reallocations refused as misuse.
  uint64_t refused_frees;
} evf_stats_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// A sentence for a status, in English; never null, never freed.
const char *evf_message(int status);

// The size of the control structure that `evf_init` builds in `bytes` bytes of memory: about 0.8
// KiB, or 2.4 KiB from 1 MiB on; on 32-bit machines 0.4 KiB, or 0.7 KiB above 512 KiB. The
// metadata of the pool is not included (1/32 to 1/30 of the memory, or of `max_bytes` if that is
// set).
size_t evf_control_bytes(size_t bytes);

// Builds a heap in `bytes` bytes at `memory` and writes its address to `*heap`. The memory may
// have any alignment and content. It belongs to the heap until the caller stops using the heap,
// which needn't be closed.
//
// Errors: EVF_REGION_TOO_SMALL, EVF_REGION_TOO_LARGE, EVF_BAD_ARGUMENT for null pointers; `*heap`
// is then null.
//
// `memory` is null or valid for `bytes` bytes, `heap` null or writable.
EVF_NODISCARD enum evf_status evf_init(void *memory, size_t bytes, struct evf_heap **heap);

// As `evf_init`, with options; null means the defaults. EVF_BAD_ARGUMENT also for options that are
// invalid or that this library doesn't know; EVF_NO_SLABS if `options` ask for slabs and this
// library has none.
//
// As `evf_init`; `options` is null or has `options->struct_bytes` bytes.
EVF_NODISCARD enum evf_status evf_init_with(void *memory, size_t bytes, const struct evf_options_t *options, struct evf_heap **heap);

// Sets the lock of the heap; null removes it. Without a lock, one thread at a time may use the
// heap. The table is copied. EVF_BAD_ARGUMENT if one of its functions is missing.
//
// `heap` came from `evf_init`; no other thread uses it during the call.
enum evf_status evf_set_lock(struct evf_heap *heap, const struct evf_lock_t *lock);

// Sets the function to call with every pointer that is refused, and with EVF_CORRUPT if a request
// found free memory overwritten; the pointer is then null, or the one to be reallocated. Null
// removes the function. It runs outside the lock and may end the program. If it returns, the call
// that refused returns its status.
//
// `heap` came from `evf_init`; no other thread uses it during the call.
enum evf_status evf_set_misuse(struct evf_heap *heap, void (*function)(void *context, struct evf_heap *heap, void *pointer, enum evf_status status), void *context);

// Sets the function to ask when a request for `bytes` finds no free block; null removes it. It
// runs outside the lock and may free blocks or extend the pool. If it returns true, the request is
// tried once more. `retries` counts how often this request was tried again.
//
// `heap` came from `evf_init`; no other thread uses it during the call.
enum evf_status evf_set_out_of_memory(struct evf_heap *heap, bool (*function)(void *context, struct evf_heap *heap, size_t bytes, uint32_t retries), void *context);

// Allocates `bytes` bytes, aligned for any C type; null if there is no memory. A request of zero
// bytes gets a block of its own.
//
// `heap` came from `evf_init`.
EVF_NODISCARD EVF_MALLOC EVF_ALLOC_SIZE(2) void *evf_alloc(struct evf_heap *heap, size_t bytes);

// Allocates `bytes` bytes at a multiple of `alignment`, a power of two or 0 for any C type, and
// writes the block's address to `block`. On an error `*block` is null: EVF_OUT_OF_MEMORY for a
// full pool, EVF_TOO_LARGE, EVF_CORRUPT if free memory was overwritten, EVF_BAD_ARGUMENT,
// EVF_NOT_A_HEAP.
//
// `heap` came from `evf_init`; `block` is null or can be written to.
EVF_NODISCARD enum evf_status evf_try_alloc(struct evf_heap *heap, size_t alignment, size_t bytes, void **block);

// Allocates `bytes` bytes at a multiple of `alignment`, a power of two; null if there is no memory
// or the alignment is no power of two. The block is freed like any other.
//
// `heap` came from `evf_init`.
EVF_NODISCARD EVF_MALLOC EVF_ALLOC_ALIGN(2) EVF_ALLOC_SIZE(3) void *evf_alloc_aligned(struct evf_heap *heap, size_t alignment, size_t bytes);

// Allocates `count * bytes` zeroed bytes; null if there is no memory or the product overflows.
//
// `heap` came from `evf_init`.
EVF_NODISCARD EVF_MALLOC EVF_ALLOC_SIZE(2, 3) void *evf_calloc(struct evf_heap *heap, size_t count, size_t bytes);

// Resizes a block to `bytes` bytes: in place if possible, otherwise in a new block, to which it is
// copied outside the lock. If there is no memory for that, the block moves into free memory before
// it, with the lock held. A null `pointer` allocates. Returns null if there is no memory or the
// pointer is refused; the old block is then unchanged. Shrinking never fails. Zero bytes shrink
// the block and don't free it.
//
// `heap` came from `evf_init`; a live block at `pointer` is not used by others during the call,
// and after success no longer under its old address.
EVF_NODISCARD EVF_ALLOC_SIZE(3) void *evf_realloc(struct evf_heap *heap, void *pointer, size_t bytes);

// As `evf_realloc`, but writes the block's address to `block` and returns a status as
// `evf_try_alloc` and `evf_free` do. On an error `*block` is null, and the old block is unchanged.
//
// As `evf_realloc`; `block` is null or can be written to.
EVF_NODISCARD enum evf_status evf_try_realloc(struct evf_heap *heap, void *pointer, size_t bytes, void **block);

// Frees a block; null is ignored. Any other pointer that is no live block of this heap is refused.
// The misuse callback is called, and the status says what is wrong.
//
// `heap` came from `evf_init`; a live block at `pointer` is not used after the call.
enum evf_status evf_free(struct evf_heap *heap, void *pointer);

// Frees a block of `evf_alloc`, `evf_calloc` or `evf_realloc` that was requested with `bytes`.
// Refuses other sizes too, unless they round to the same.
//
// As `evf_free`.
enum evf_status evf_free_sized(struct evf_heap *heap, void *pointer, size_t bytes);

// Frees a block of `evf_alloc_aligned`. Refuses other sizes and alignments too, as
// `evf_free_sized` does.
//
// As `evf_free`.
enum evf_status evf_free_aligned_sized(struct evf_heap *heap, void *pointer, size_t alignment, size_t bytes);

// Extends the pool by the `added_bytes` that follow its memory, up to `max_bytes` of
// `evf_init_with`. Returns by how many bytes the pool has grown: whole granules only, and 0 if it
// may not grow or `heap` isn't a heap. Constant time.
//
// `heap` came from `evf_init_with`; the bytes right behind its memory are the heap's from here on.
size_t evf_extend(struct evf_heap *heap, size_t added_bytes);

// Frees all blocks at once. Linear in the part of the metadata that was used.
//
// `heap` came from `evf_init`; none of its blocks is used after the call.
enum evf_status evf_reset(struct evf_heap *heap);

// How many bytes may be used at `pointer`; 0 if no live block of this heap starts there. In a
// library built for AddressSanitizer or Valgrind this is the requested size.
//
// `heap` came from `evf_init`.
size_t evf_usable_size(struct evf_heap *heap, void *pointer);

// The largest request that succeeds now by `evf_alloc`, in bytes, exact; 0 if `heap` isn't a heap.
// The next call may change it.
//
// `heap` came from `evf_init`.
size_t evf_largest_free(struct evf_heap *heap);

// The largest request that succeeds now by `evf_alloc_aligned` at this alignment, in bytes, exact;
// 0 if the alignment is no power of two, or `heap` isn't a heap.
//
// `heap` came from `evf_init`.
size_t evf_largest_free_aligned(struct evf_heap *heap, size_t alignment);

// Fills `*stats` in constant time. EVF_BAD_ARGUMENT if it is null, or has less room than
// `struct_bytes` itself needs.
//
// `heap` came from `evf_init`; `stats` is null or has `stats->struct_bytes` bytes.
enum evf_status evf_stats(struct evf_heap *heap, struct evf_stats_t *stats);

// Calls `visit` for every piece of the pool in address order until it returns false. The lock is
// held throughout: `visit` must not use the heap. Linear in the number of pieces.
//
// `heap` came from `evf_init`.
enum evf_status evf_walk(struct evf_heap *heap, bool (*visit)(void *context, size_t offset_bytes, size_t bytes, enum evf_state state), void *context);

// Checks the whole heap: EVF_OK, or EVF_CORRUPT. It only reads, whatever bytes the pool contains.
// Linear in the pool.
//
// `heap` came from `evf_init`.
enum evf_status evf_check(struct evf_heap *heap);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* EVENFIT_H */
