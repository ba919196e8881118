//! The malloc family over the pool.
#![allow(clippy::missing_safety_doc)] // The contracts are those of the C standard and POSIX.

use core::ffi::{c_int, c_void};
use core::ptr::{self, NonNull};

use evenfit::AllocError;

use super::memory::MEMORY;

/// A block as C returns it: null and `ENOMEM` if there is none.
#[inline(always)]
fn as_c(block: Result<NonNull<u8>, AllocError>) -> *mut c_void {
    match block {
        Ok(block) => block.as_ptr().cast(),
        Err(_) => {
            set_errno(libc::ENOMEM);
            ptr::null_mut()
        }
    }
}

#[cold]
fn set_errno(number: c_int) {
    // SAFETY: this thread's own.
    unsafe { *libc::__errno_location() = number };
}

#[inline(always)]
pub unsafe fn malloc(bytes: usize) -> *mut c_void {
    as_c(MEMORY.allocate(bytes))
}

#[inline(always)]
pub unsafe fn calloc(count: usize, bytes: usize) -> *mut c_void {
    let total = count.checked_mul(bytes).ok_or(AllocError::TooLarge);
    as_c(total.and_then(|bytes| MEMORY.allocate_zeroed(bytes)))
}

#[inline(always)]
pub unsafe fn free(pointer: *mut c_void) {
    if let Some(block) = NonNull::new(pointer.cast()) {
        // SAFETY: the caller gives the block up.
        unsafe { MEMORY.free(block) };
    }
}

/// As glibc: null allocates, and size 0 frees.
#[inline(always)]
pub unsafe fn realloc(pointer: *mut c_void, bytes: usize) -> *mut c_void {
    let Some(block) = NonNull::new(pointer.cast()) else {
        return as_c(MEMORY.allocate(bytes));
    };
    if bytes == 0 {
        // SAFETY: the caller gives the block up.
        unsafe { MEMORY.free(block) };
        return ptr::null_mut();
    }
    // SAFETY: the caller gives the block up if this succeeds.
    as_c(unsafe { MEMORY.reallocate(block, bytes) })
}

#[inline(always)]
pub unsafe fn reallocarray(pointer: *mut c_void, count: usize, bytes: usize) -> *mut c_void {
    match count.checked_mul(bytes) {
        // SAFETY: the caller's promise is the one asked for.
        Some(bytes) => unsafe { realloc(pointer, bytes) },
        None => as_c(Err(AllocError::TooLarge)),
    }
}

/// As glibc: an alignment that is no power of two is rounded up to one.
#[inline(always)]
pub unsafe fn memalign(alignment: usize, bytes: usize) -> *mut c_void {
    match alignment.checked_next_power_of_two() {
        Some(alignment) => as_c(MEMORY.allocate_aligned(alignment, bytes)),
        None => {
            set_errno(libc::EINVAL);
            ptr::null_mut()
        }
    }
}

#[inline(always)]
pub unsafe fn posix_memalign(place: *mut *mut c_void, alignment: usize, bytes: usize) -> c_int {
    if !alignment.is_power_of_two() || !alignment.is_multiple_of(size_of::<usize>()) {
        return libc::EINVAL;
    }
    match MEMORY.allocate_aligned(alignment, bytes) {
        Ok(block) => {
            // SAFETY: the caller's place for the answer.
            unsafe { place.write(block.as_ptr().cast()) };
            0
        }
        Err(_) => {
            // The answer says it, and glibc sets it all the same.
            set_errno(libc::ENOMEM);
            libc::ENOMEM
        }
    }
}

fn page_bytes() -> usize {
    // SAFETY: asks for a constant of the system.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[inline(always)]
pub unsafe fn valloc(bytes: usize) -> *mut c_void {
    as_c(MEMORY.allocate_aligned(page_bytes(), bytes))
}

#[inline(always)]
pub unsafe fn pvalloc(bytes: usize) -> *mut c_void {
    let page_bytes = page_bytes();
    let rounded = bytes.max(1).checked_next_multiple_of(page_bytes);
    let block = rounded
        .ok_or(AllocError::TooLarge)
        .and_then(|bytes| MEMORY.allocate_aligned(page_bytes, bytes));
    as_c(block)
}

#[inline(always)]
pub fn malloc_usable_size(pointer: *mut c_void) -> usize {
    NonNull::new(pointer.cast()).map_or(0, |block| MEMORY.usable_size(block))
}
