//! Memcheck, by client requests (Valgrind's manual, "The Client Request mechanism"; numbers of
//! `valgrind.h` and `memcheck.h`). A request is a sequence of instructions that does nothing on the
//! processor, and calls Valgrind if the program runs under it.
//!
//! The pool is a *meta pool* of one chunk. Every live block in it is reported like one of `malloc`.
//! So Memcheck describes an address by the block that it lies in or directly behind, finds leaked
//! blocks, and forgets all blocks with the chunk. Memcheck looks blocks and chunks up in one table.
//! So when it searches for leaks it may take a pointer to a block for one to the pool, and report a
//! block that is still reachable. The pool's first block, which has the pool's address, it never
//! reports.
//!
//! On other processors than x86-64 and 64-bit Arm nothing is reported.

use core::ptr::NonNull;

/// The numbers `VG_USERREQ__...` of Valgrind's core.
mod request {
    #[cfg(not(feature = "asan"))]
    pub(super) const RUNNING_ON_VALGRIND: usize = 0x1001;
    pub(super) const MALLOCLIKE_BLOCK: usize = 0x1301;
    pub(super) const FREELIKE_BLOCK: usize = 0x1302;
    pub(super) const CREATE_MEMPOOL: usize = 0x1303;
    pub(super) const DESTROY_MEMPOOL: usize = 0x1304;
    pub(super) const MEMPOOL_ALLOC: usize = 0x1305;
    pub(super) const MEMPOOL_FREE: usize = 0x1306;
    pub(super) const MEMPOOL_CHANGE: usize = 0x1309;
    pub(super) const MEMPOOL_EXISTS: usize = 0x130a;
    pub(super) const RESIZEINPLACE_BLOCK: usize = 0x130b;

    /// Memcheck's own numbers begin with its initials.
    const MEMCHECK: usize = 0x4D43 << 16;
    pub(super) const MAKE_MEM_NOACCESS: usize = MEMCHECK;
    pub(super) const MAKE_MEM_DEFINED: usize = MEMCHECK + 2;
    pub(super) const GET_VBITS: usize = MEMCHECK + 8;
}

/// The flags of a meta pool: blocks in a chunk are freed with it, and leaks are searched among the
/// blocks, not among chunks.
const AUTO_FREE_METAPOOL: usize = 1 | 2;

/// The answer of `GET_VBITS` if a byte isn't addressable.
const UNADDRESSABLE: usize = 3;

#[cfg(not(feature = "asan"))]
pub(super) fn is_running() -> bool {
    ask(request::RUNNING_ON_VALGRIND, [0; 4]) != 0
}

pub(super) fn pool_built(pool: NonNull<u8>, bytes: usize) {
    let pool = address(pool);
    // The pool of a heap that wasn't dropped may have been here.
    if ask(request::MEMPOOL_EXISTS, [pool, 0, 0, 0]) != 0 {
        destroy_pool(pool);
    }
    ask(request::CREATE_MEMPOOL, [pool, 0, 0, AUTO_FREE_METAPOOL]);
    make_chunk(pool, bytes);
}

pub(super) fn pool_extended(pool: NonNull<u8>, old_bytes: usize, added_bytes: usize) {
    let pool = address(pool);
    ask(request::MEMPOOL_CHANGE, [pool, pool, pool, old_bytes + added_bytes]);
    ask(request::MAKE_MEM_NOACCESS, [pool + old_bytes, added_bytes, 0, 0]);
}

pub(super) fn pool_reset(pool: NonNull<u8>, bytes: usize) {
    let pool = address(pool);
    ask(request::MEMPOOL_FREE, [pool, pool, 0, 0]);
    make_chunk(pool, bytes);
}

pub(super) fn pool_dropped(pool: NonNull<u8>, bytes: usize) {
    destroy_pool(address(pool));
    unpoison(pool, bytes);
}

/// Makes the whole pool one chunk without blocks.
fn make_chunk(pool: usize, bytes: usize) {
    ask(request::MEMPOOL_ALLOC, [pool, pool, bytes, 0]);
    ask(request::MAKE_MEM_NOACCESS, [pool, bytes, 0, 0]);
}

/// Frees the chunk and then the pool. Freeing the pool alone wouldn't free the blocks in it.
fn destroy_pool(pool: usize) {
    ask(request::MEMPOOL_FREE, [pool, pool, 0, 0]);
    ask(request::DESTROY_MEMPOOL, [pool, 0, 0, 0]);
}

pub(super) fn block_allocated(ptr: NonNull<u8>, bytes: usize) {
    ask(request::MALLOCLIKE_BLOCK, [address(ptr), bytes, 0, 0]);
}

pub(super) fn block_freed(ptr: NonNull<u8>, _bytes: usize) {
    ask(request::FREELIKE_BLOCK, [address(ptr), 0, 0, 0]);
}

pub(super) fn block_resized(ptr: NonNull<u8>, old_bytes: usize, new_bytes: usize) {
    if new_bytes == 0 {
        // Memcheck refuses to resize a block to 0 bytes.
        block_freed(ptr, old_bytes);
        block_allocated(ptr, 0);
        return;
    }
    ask(request::RESIZEINPLACE_BLOCK, [address(ptr), old_bytes, new_bytes, 0]);
}

pub(super) fn unpoison(ptr: NonNull<u8>, bytes: usize) {
    ask(request::MAKE_MEM_DEFINED, [address(ptr), bytes, 0, 0]);
}

pub(super) fn poison(ptr: NonNull<u8>, bytes: usize) {
    ask(request::MAKE_MEM_NOACCESS, [address(ptr), bytes, 0, 0]);
}

pub(super) fn is_unpoisoned(address: *const u8) -> bool {
    let mut bits = 0u8;
    let out = (&raw mut bits).expose_provenance();
    ask(request::GET_VBITS, [address.addr(), out, 1, 0]) != UNADDRESSABLE
}

/// The address of memory that Valgrind may write to, or search for pointers.
fn address(ptr: NonNull<u8>) -> usize {
    ptr.as_ptr().expose_provenance()
}

/// Valgrind's answer to a request, or 0 if the program runs without it.
#[inline]
fn ask(request: usize, arguments: [usize; 4]) -> usize {
    let [a, b, c, d] = arguments;
    let message = [request, a, b, c, d, 0];
    let mut answer = 0usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: rotations by 128 in all and an exchange of a register with itself change only the
    // flags. Valgrind reads the message and writes the answer. The requests above change no byte
    // that the program may read.
    unsafe {
        core::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") &raw const message,
            inout("rdx") answer,
            options(nostack),
        )
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as for x86-64.
    unsafe {
        core::arch::asm!(
            "ror x12, x12, #3",
            "ror x12, x12, #13",
            "ror x12, x12, #51",
            "ror x12, x12, #61",
            "orr x10, x10, x10",
            in("x4") &raw const message,
            inout("x3") answer,
            options(nostack),
        )
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = message;
        answer = 0;
    }
    answer
}
