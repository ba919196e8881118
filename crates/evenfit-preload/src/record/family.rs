//! The malloc family: glibc serves it, and each call is recorded on its way, with its call site.
//! The four frequent ones are not inlined, so that serving the same call has few registers to save.
#![allow(clippy::missing_safety_doc)] // The contracts are those of the C standard and POSIX.

use core::ffi::{CStr, c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::{libc_function, session};

unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(old: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_memalign(align: usize, size: usize) -> *mut c_void;
    fn __libc_free(block: *mut c_void);
}

const PAGE_BYTES: usize = 4096;

#[inline(always)]
fn allocated(block: *mut c_void, size: usize, align: usize, site: usize) -> *mut c_void {
    if !block.is_null() {
        session::hold(|session| {
            session.record(site, |encoder, room| {
                encoder.alloc(room, block.addr() as u64, size as u64, align as u64)
            });
        });
    }
    block
}

#[inline(never)]
pub unsafe fn malloc(size: usize, site: usize) -> *mut c_void {
    // SAFETY: the C library's own.
    allocated(unsafe { __libc_malloc(size) }, size, 16, site)
}

#[inline(never)]
pub unsafe fn calloc(count: usize, size: usize, site: usize) -> *mut c_void {
    // SAFETY: the C library's own; it refuses a product that is too large.
    let block = unsafe { __libc_calloc(count, size) };
    if !block.is_null() {
        let size = count.wrapping_mul(size) as u64;
        session::hold(|session| {
            session.record(site, |encoder, room| {
                encoder.alloc_zeroed(room, block.addr() as u64, size, 16)
            });
        });
    }
    block
}

#[inline(never)]
pub unsafe fn realloc(old: *mut c_void, size: usize, site: usize) -> *mut c_void {
    if old.is_null() {
        // SAFETY: as malloc.
        return unsafe { malloc(size, site) };
    }
    // Another thread may be given the old block as soon as it is free: not before this is recorded.
    session::hold(|session| {
        // SAFETY: the caller's promise; the C library's own.
        let new = unsafe { __libc_realloc(old, size) };
        if new.is_null() && size != 0 {
            return new;
        }
        let (from, to) = (old.addr() as u64, new.addr() as u64);
        session.record(site, |encoder, room| {
            if new.is_null() {
                encoder.free(room, from)
            } else {
                encoder.realloc(room, from, to, size as u64)
            }
        });
        new
    })
}

pub unsafe fn reallocarray(
    old: *mut c_void,
    count: usize,
    size: usize,
    site: usize,
) -> *mut c_void {
    let Some(bytes) = count.checked_mul(size) else {
        // SAFETY: errno is this thread's.
        unsafe { *libc::__errno_location() = libc::ENOMEM };
        return core::ptr::null_mut();
    };
    // SAFETY: the caller's promise.
    unsafe { realloc(old, bytes, site) }
}

pub unsafe fn memalign(align: usize, size: usize, site: usize) -> *mut c_void {
    // SAFETY: the C library's own.
    allocated(unsafe { __libc_memalign(align, size) }, size, recorded_align(align), site)
}

pub unsafe fn posix_memalign(
    out: *mut *mut c_void,
    align: usize,
    size: usize,
    site: usize,
) -> c_int {
    if !align.is_power_of_two() || !align.is_multiple_of(size_of::<usize>()) {
        return libc::EINVAL;
    }
    // SAFETY: as memalign.
    let block = unsafe { memalign(align, size, site) };
    if block.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller's promise.
    unsafe { *out = block };
    0
}

pub unsafe fn valloc(size: usize, site: usize) -> *mut c_void {
    // SAFETY: as memalign.
    unsafe { memalign(PAGE_BYTES, size, site) }
}

pub unsafe fn pvalloc(size: usize, site: usize) -> *mut c_void {
    // SAFETY: as memalign; a size that can't be rounded up can't be had either.
    unsafe { memalign(PAGE_BYTES, size.checked_next_multiple_of(PAGE_BYTES).unwrap_or(size), site) }
}

/// What glibc makes of an alignment: at least 16, and a power of two.
fn recorded_align(align: usize) -> usize {
    align.max(16).checked_next_power_of_two().unwrap_or(16)
}

#[inline(never)]
pub unsafe fn free(block: *mut c_void) {
    if block.is_null() {
        return;
    }
    // Before it is free: once it is, another thread may be given it.
    session::hold(|session| {
        session.record(0, |encoder, room| encoder.free(room, block.addr() as u64));
    });
    // SAFETY: the caller's promise; the C library's own.
    unsafe { __libc_free(block) }
}

/// Functions that ask or tell the C library about its own heap: they go on to it. What is
/// answered where it has no such function stands last.
macro_rules! of_the_c_library {
    ($(fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty = $missing:expr)?;)*) => {$(
        pub unsafe fn $name($($argument: $type),*) $(-> $result)? {
            static FUNCTION: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
            const NAME: &CStr =
                match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => c"",
                };
            let function = of_libc(&FUNCTION, NAME);
            if function.is_null() {
                return $($missing)?;
            }
            // SAFETY: the function of this name, and the caller's promise.
            unsafe {
                let function: unsafe extern "C" fn($($type),*) $(-> $result)? =
                    core::mem::transmute(function);
                function($($argument),*)
            }
        }
    )*};
}

of_the_c_library! {
    fn malloc_usable_size(block: *mut c_void) -> usize = 0;
    fn malloc_trim(pad_bytes: usize) -> c_int = 0;
    fn mallinfo() -> libc::mallinfo = NO_MALLINFO;
    fn mallinfo2() -> libc::mallinfo2 = NO_MALLINFO2;
    fn malloc_stats();
    fn malloc_info(options: c_int, stream: *mut libc::FILE) -> c_int = libc::ENOSYS;
    fn mallopt(parameter: c_int, value: c_int) -> c_int = 0;
}

// SAFETY: numbers, of which all may be 0.
const NO_MALLINFO: libc::mallinfo = unsafe { core::mem::zeroed() };
// SAFETY: as above.
const NO_MALLINFO2: libc::mallinfo2 = unsafe { core::mem::zeroed() };

/// The C library's own function of that name, looked up once: a program may be linked with another
/// malloc, whose function knows nothing of these blocks. Null if there is none.
fn of_libc(known: &AtomicPtr<c_void>, name: &CStr) -> *mut c_void {
    let mut function = known.load(Ordering::Relaxed);
    if function.is_null() {
        function = libc_function(name);
        known.store(function, Ordering::Relaxed);
    }
    function
}
