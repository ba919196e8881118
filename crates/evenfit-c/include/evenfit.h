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

// What a call answers. Everything but EVF_OK leaves the heap as it was.
typedef enum evf_status {
  // Done.
  EVF_OK = 0,
  // A null pointer, or memory without a heap in it, was handed in as the heap.
  EVF_NOT_A_HEAP = 1,
  // A pointer or number that the call can't work with, as an alignment that is no power of two.
  EVF_BAD_ARGUMENT = 2,
  // The memory is too small for the control structure, the pool's metadata and one block.
  EVF_REGION_TOO_SMALL = 3,
  // The memory is larger than the links can number.
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

// What a piece of the pool holds.
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
  // Blocks only: slower for small requests, and the tightest.
  EVF_BLOCKS_ONLY = 1,
  // Slabs whatever the length of the memory. Not on 32-bit machines, where this library has
  // none.
  EVF_WITH_SLABS = 2,
} evf_tiers;

// A heap in the caller's memory: this head, then the heap's own control structure, then the pool.
typedef struct evf_heap evf_heap;

// What can be chosen when a heap is built; zero is the default of every field. Set `struct_bytes`
// to `sizeof(evf_options_t)`: fields that your program doesn't know then have their default, and
// ones that an older library doesn't know are refused unless they are zero.
typedef struct evf_options_t {
  // The length of this structure in bytes.
  size_t struct_bytes;
  // An `evf_tiers`.
  int tiers;
  // How many bytes `memory` may become by `evf_extend`; 0 where it stays as it is. The metadata
  // is made for so many.
  size_t max_bytes;
} evf_options_t;

// How to let one caller at a time into a heap. `context` is handed to both functions.
//
// The lock is never acquired twice by one thread; it is held for one bounded heap operation, not
// while payload is zeroed or copied (but see `evf_realloc`) nor while a callback runs.
typedef struct evf_lock_t {
  // Waits until no one else holds the lock, and acquires it.
  void (*acquire)(void *context);
  // Releases it.
  void (*release)(void *context);
  // Yours.
  void *context;
} evf_lock_t;

// A heap's counters. Set `struct_bytes` to `sizeof(evf_stats_t)` before the call: a newer library
// then fills no more than you have room for, and sets it to what it filled.
typedef struct evf_stats_t {
  // In: the room there is. Out: the bytes filled.
  size_t struct_bytes;
  // Bytes that blocks can be cut from.
  size_t pool_bytes;
  // Bytes of metadata, and lost to alignment, without the control structure.
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

// How many of `bytes` bytes given to `evf_init` the control structure takes, beyond the metadata
// of the pool (1/32 to 1/30; of `max_bytes`, where that is chosen): about 0.8 KiB, or 2.4 KiB from
// 1 MiB on; on 32-bit machines 0.4 KiB, or 0.7 KiB above 512 KiB.
size_t evf_control_bytes(size_t bytes);

// Builds a heap in `bytes` bytes at `memory` and writes where it is to `*heap`. The memory may
// have any alignment and content; it belongs to the heap until the caller stops using it. There is
// nothing to close.
//
// EVF_REGION_TOO_SMALL, EVF_REGION_TOO_LARGE, EVF_BAD_ARGUMENT for null pointers; `*heap` is then
// null.
//
// `memory` is null or valid for `bytes` bytes, `heap` null or writable.
EVF_NODISCARD enum evf_status evf_init(void *memory, size_t bytes, struct evf_heap **heap);

// As `evf_init`, with choices; null `options` are the defaults. EVF_BAD_ARGUMENT also for options
// that make no sense, or that this library doesn't know; EVF_NO_SLABS where slabs are asked for
// and it has none.
//
// As `evf_init`; `options` is null or has `options->struct_bytes` bytes.
EVF_NODISCARD enum evf_status evf_init_with(void *memory, size_t bytes, const struct evf_options_t *options, struct evf_heap **heap);

// Lets a lock guard the heap; null removes it. Without one, one thread at a time may use the heap.
// The table is copied. EVF_BAD_ARGUMENT where one of its functions is missing.
//
// `heap` came from `evf_init`; no other thread uses it during the call.
enum evf_status evf_set_lock(struct evf_heap *heap, const struct evf_lock_t *lock);

// Sets the function to call with every pointer that is refused, and with EVF_CORRUPT where a
// request found free memory overwritten (the pointer is then null, or the one to be reallocated);
// null removes it. It runs outside the lock and may end the program. If it returns, the call
// answers with its status.
//
// `heap` came from `evf_init`; no other thread uses it during the call.
enum evf_status evf_set_misuse(struct evf_heap *heap, void (*function)(void *context, struct evf_heap *heap, void *pointer, enum evf_status status), void *context);

// Sets the function to ask when a request for `bytes` finds no free block; null removes it. It
// runs outside the lock, may free blocks or make the pool longer, and returns true to have the
// request tried once more. `retries` counts how often this request was tried again.
//
// `heap` came from `evf_init`; no other thread uses it during the call.
enum evf_status evf_set_out_of_memory(struct evf_heap *heap, bool (*function)(void *context, struct evf_heap *heap, size_t bytes, uint32_t retries), void *context);

// Allocates `bytes` bytes, aligned for any C type; null where there is no room. Zero bytes give a
// block of their own.
//
// `heap` came from `evf_init`.
EVF_NODISCARD EVF_MALLOC EVF_ALLOC_SIZE(2) void *evf_alloc(struct evf_heap *heap, size_t bytes);

// Allocates `bytes` bytes at a multiple of `alignment`, a power of two or 0 for any C type, writes
// the block's address to `block`, and says why where there is none: EVF_OUT_OF_MEMORY for a full
// pool, EVF_TOO_LARGE, EVF_CORRUPT where free memory was overwritten, EVF_BAD_ARGUMENT,
// EVF_NOT_A_HEAP. `*block` is then null.
//
// `heap` came from `evf_init`; `block` is null or can be written to.
EVF_NODISCARD enum evf_status evf_try_alloc(struct evf_heap *heap, size_t alignment, size_t bytes, void **block);

// Allocates `bytes` bytes at a multiple of `alignment`, a power of two; null where there is no
// room or the alignment is no power of two. Freed like any other block.
//
// `heap` came from `evf_init`.
EVF_NODISCARD EVF_MALLOC EVF_ALLOC_ALIGN(2) EVF_ALLOC_SIZE(3) void *evf_alloc_aligned(struct evf_heap *heap, size_t alignment, size_t bytes);

// Allocates `count * bytes` zeroed bytes; null where there is no room or the product overflows.
//
// `heap` came from `evf_init`.
EVF_NODISCARD EVF_MALLOC EVF_ALLOC_SIZE(2, 3) void *evf_calloc(struct evf_heap *heap, size_t count, size_t bytes);

// Gives a block `bytes` bytes: in place where it can, else in a new block, copied outside the
// lock; where there is no room for one, moved into free memory before it, with the lock held. A
// null `pointer` allocates. Null where there is no room or the pointer is refused: the old block
// is then as it was. Zero bytes shrink the block; they do not free it. To shrink a block never
// fails.
//
// `heap` came from `evf_init`; a live block at `pointer` is not used by others during the call,
// and after success no longer under its old address.
EVF_NODISCARD EVF_ALLOC_SIZE(3) void *evf_realloc(struct evf_heap *heap, void *pointer, size_t bytes);

// As `evf_realloc`; writes the block's address to `block`, and says why where there is none, as
// `evf_try_alloc` and `evf_free` do. `*block` is then null, and the old block as it was.
//
// As `evf_realloc`; `block` is null or can be written to.
EVF_NODISCARD enum evf_status evf_try_realloc(struct evf_heap *heap, void *pointer, size_t bytes, void **block);

// Frees a block; null is fine. Anything else that is no live block of this heap is refused, told
// to the misuse callback, and named in the answer.
//
// `heap` came from `evf_init`; a live block at `pointer` is not used after the call.
enum evf_status evf_free(struct evf_heap *heap, void *pointer);

// Frees a block that was asked for with `bytes`: also refuses a size that it was not allocated
// with, as far as the rounding can tell. For blocks of `evf_alloc`, `evf_calloc`, `evf_realloc`.
//
// As `evf_free`.
enum evf_status evf_free_sized(struct evf_heap *heap, void *pointer, size_t bytes);

// Frees a block of `evf_alloc_aligned`, and refuses a size or alignment that it was not allocated
// with.
//
// As `evf_free`.
enum evf_status evf_free_aligned_sized(struct evf_heap *heap, void *pointer, size_t alignment, size_t bytes);

// Makes the pool longer by the `added_bytes` that follow its memory, as far as `max_bytes` of
// `evf_init_with` allows. By how many bytes it has grown: whole granules only, and 0 for a pool
// that may not grow or what is no heap. Constant time.
//
// `heap` came from `evf_init_with`; the bytes right behind its memory are the heap's from here on.
size_t evf_extend(struct evf_heap *heap, size_t added_bytes);

// Frees all blocks at once. Linear in the part of the metadata that was used.
//
// `heap` came from `evf_init`; none of its blocks is used after the call.
enum evf_status evf_reset(struct evf_heap *heap);

// How many bytes may be used at `pointer`; 0 where no live block of this heap starts there. In a
// library built for AddressSanitizer or Valgrind: as many as were asked for.
//
// `heap` came from `evf_init`.
size_t evf_usable_size(struct evf_heap *heap, void *pointer);

// The largest request that succeeds now by `evf_alloc`, in bytes, exact; 0 for what is no heap.
// The next call may change it, even a request that fails.
//
// `heap` came from `evf_init`.
size_t evf_largest_free(struct evf_heap *heap);

// The largest request that succeeds now by `evf_alloc_aligned` at this alignment, in bytes, exact;
// 0 where the alignment is no power of two, and for what is no heap. Gives the empty slab that is
// kept, where there is one, back to the pool.
//
// `heap` came from `evf_init`.
size_t evf_largest_free_aligned(struct evf_heap *heap, size_t alignment);

// Fills `*stats` in constant time. EVF_BAD_ARGUMENT where it is null or has room for less than
// `struct_bytes` itself.
//
// `heap` came from `evf_init`; `stats` is null or has `stats->struct_bytes` bytes.
enum evf_status evf_stats(struct evf_heap *heap, struct evf_stats_t *stats);

// Calls `visit` for every piece of the pool in address order until it returns false. The lock is
// held throughout: `visit` must not use the heap. Linear in the number of pieces.
//
// `heap` came from `evf_init`.
enum evf_status evf_walk(struct evf_heap *heap, bool (*visit)(void *context, size_t offset_bytes, size_t bytes, enum evf_state state), void *context);

// Checks the whole heap: EVF_OK, or EVF_CORRUPT. Reads only, whatever bytes the pool holds. Linear
// in the pool.
//
// `heap` came from `evf_init`.
enum evf_status evf_check(struct evf_heap *heap);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* EVENFIT_H */
