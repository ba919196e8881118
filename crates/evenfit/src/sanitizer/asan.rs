//! AddressSanitizer, by its own interface (`sanitizer/asan_interface.h`).

use core::ffi::{c_int, c_void};
use core::ptr::NonNull;

unsafe extern "C" {
    fn __asan_poison_memory_region(address: *const c_void, bytes: usize);
    fn __asan_unpoison_memory_region(address: *const c_void, bytes: usize);
    fn __asan_address_is_poisoned(address: *const c_void) -> c_int;
}

pub(super) fn pool_built(pool: NonNull<u8>, bytes: usize) {
    poison(pool, bytes);
}

pub(super) fn pool_extended(pool: NonNull<u8>, old_bytes: usize, added_bytes: usize) {
    // SAFETY: the pool continues there.
    poison(unsafe { pool.add(old_bytes) }, added_bytes);
}

pub(super) fn pool_reset(pool: NonNull<u8>, bytes: usize) {
    poison(pool, bytes);
}

pub(super) fn pool_dropped(pool: NonNull<u8>, bytes: usize) {
    unpoison(pool, bytes);
}

pub(super) fn block_allocated(ptr: NonNull<u8>, bytes: usize) {
    unpoison(ptr, bytes);
}

pub(super) fn block_freed(ptr: NonNull<u8>, bytes: usize) {
    poison(ptr, bytes);
}

pub(super) fn block_resized(ptr: NonNull<u8>, old_bytes: usize, new_bytes: usize) {
    poison(ptr, old_bytes);
    unpoison(ptr, new_bytes);
}

pub(super) fn unpoison(ptr: NonNull<u8>, bytes: usize) {
    // SAFETY: the bytes are part of a pool, and only its heap poisons and unpoisons it.
    unsafe { __asan_unpoison_memory_region(ptr.as_ptr().cast(), bytes) }
}

pub(super) fn poison(ptr: NonNull<u8>, bytes: usize) {
    // SAFETY: as in `unpoison`.
    unsafe { __asan_poison_memory_region(ptr.as_ptr().cast(), bytes) }
}

pub(super) fn is_unpoisoned(address: *const u8) -> bool {
    // SAFETY: only the sanitizer's own record of the address is read.
    unsafe { __asan_address_is_poisoned(address.cast()) == 0 }
}
