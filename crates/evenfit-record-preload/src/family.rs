//! The malloc family: glibc serves it, and each call is recorded on its way.
//!
//! Each entry passes the address it returns to, its caller's call site, as one argument more.

use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::session;

unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(old: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_memalign(align: usize, size: usize) -> *mut c_void;
    fn __libc_free(block: *mut c_void);
}

/// An entry of the family that adds its return address as the last argument and goes on in `$to`.
macro_rules! entry {
    ($name:ident, $to:ident, $register:literal, $arm_register:literal) => {
        /// The C library's function of this name, recorded.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name() {
            #[cfg(target_arch = "x86_64")]
            core::arch::naked_asm!(
                concat!("mov ", $register, ", [rsp]"),
                "jmp {to}",
                to = sym $to,
            );
            #[cfg(target_arch = "aarch64")]
            core::arch::naked_asm!(
                concat!("mov ", $arm_register, ", x30"),
                "b {to}",
                to = sym $to,
            );
        }
    };
}

entry!(malloc, malloc_from, "rsi", "x1");
entry!(calloc, calloc_from, "rdx", "x2");
entry!(realloc, realloc_from, "rdx", "x2");
entry!(reallocarray, reallocarray_from, "rcx", "x3");
entry!(memalign, memalign_from, "rdx", "x2");
entry!(aligned_alloc, memalign_from, "rdx", "x2");
entry!(posix_memalign, posix_memalign_from, "rcx", "x3");
entry!(valloc, valloc_from, "rsi", "x1");
entry!(pvalloc, pvalloc_from, "rsi", "x1");

const PAGE_BYTES: usize = 4096;

#[inline(always)]
fn allocated(block: *mut c_void, size: usize, align: usize, site: usize) -> *mut c_void {
    if !block.is_null() {
        session::hold(|session| {
            if let Some(recorder) = session.recorder(site) {
                recorder.alloc(block.addr() as u64, size as u64, align as u64);
            }
        });
    }
    block
}

unsafe extern "C" fn malloc_from(size: usize, site: usize) -> *mut c_void {
    // SAFETY: the C library's own.
    allocated(unsafe { __libc_malloc(size) }, size, 16, site)
}

unsafe extern "C" fn calloc_from(count: usize, size: usize, site: usize) -> *mut c_void {
    // SAFETY: the C library's own; it refuses a product that is too large.
    let block = unsafe { __libc_calloc(count, size) };
    if !block.is_null() {
        let size = count.wrapping_mul(size) as u64;
        session::hold(|session| {
            if let Some(recorder) = session.recorder(site) {
                recorder.alloc_zeroed(block.addr() as u64, size, 16);
            }
        });
    }
    block
}

unsafe extern "C" fn realloc_from(old: *mut c_void, size: usize, site: usize) -> *mut c_void {
    if old.is_null() {
        // SAFETY: as malloc.
        return unsafe { malloc_from(size, site) };
    }
    // Another thread may be given the old block as soon as it is free: not before this is recorded.
    session::hold(|session| {
        // SAFETY: the caller's promise; the C library's own.
        let new = unsafe { __libc_realloc(old, size) };
        if new.is_null() && size != 0 {
            return new;
        }
        let Some(recorder) = session.recorder(site) else {
            return new;
        };
        if new.is_null() {
            recorder.free(old.addr() as u64);
        } else {
            recorder.realloc(old.addr() as u64, new.addr() as u64, size as u64);
        }
        new
    })
}

unsafe extern "C" fn reallocarray_from(
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
    unsafe { realloc_from(old, bytes, site) }
}

unsafe extern "C" fn memalign_from(align: usize, size: usize, site: usize) -> *mut c_void {
    // SAFETY: the C library's own.
    allocated(
        unsafe { __libc_memalign(align, size) },
        size,
        recorded_align(align),
        site,
    )
}

unsafe extern "C" fn posix_memalign_from(
    out: *mut *mut c_void,
    align: usize,
    size: usize,
    site: usize,
) -> c_int {
    if !align.is_power_of_two() || !align.is_multiple_of(size_of::<usize>()) {
        return libc::EINVAL;
    }
    // SAFETY: as memalign.
    let block = unsafe { memalign_from(align, size, site) };
    if block.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller's promise.
    unsafe { *out = block };
    0
}

unsafe extern "C" fn valloc_from(size: usize, site: usize) -> *mut c_void {
    // SAFETY: as memalign.
    unsafe { memalign_from(PAGE_BYTES, size, site) }
}

unsafe extern "C" fn pvalloc_from(size: usize, site: usize) -> *mut c_void {
    // SAFETY: as memalign; a size that can't be rounded up can't be had either.
    unsafe {
        memalign_from(
            PAGE_BYTES,
            size.checked_next_multiple_of(PAGE_BYTES).unwrap_or(size),
            site,
        )
    }
}

/// What glibc makes of an alignment: at least 16, and a power of two.
fn recorded_align(align: usize) -> usize {
    align.max(16).checked_next_power_of_two().unwrap_or(16)
}

/// The C library's function of this name, recorded.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
unsafe extern "C" fn free(block: *mut c_void) {
    if block.is_null() {
        return;
    }
    // Before it is free: once it is, another thread may be given it.
    session::hold(|session| {
        if let Some(recorder) = session.recorder(0) {
            recorder.free(block.addr() as u64);
        }
    });
    // SAFETY: the caller's promise; the C library's own.
    unsafe { __libc_free(block) }
}

/// The C library's own: a program may be linked with another malloc, whose function of this name knows nothing of these blocks.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
unsafe extern "C" fn malloc_usable_size(block: *mut c_void) -> usize {
    static FUNCTION: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    let mut function = FUNCTION.load(Ordering::Relaxed);
    if function.is_null() {
        // SAFETY: the C library is loaded already; both names are C strings.
        function = unsafe {
            let library = libc::dlopen(c"libc.so.6".as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
            libc::dlsym(library, c"malloc_usable_size".as_ptr())
        };
        FUNCTION.store(function, Ordering::Relaxed);
    }
    if function.is_null() {
        return 0;
    }
    // SAFETY: the function of this name, and the caller's promise.
    unsafe {
        let function: unsafe extern "C" fn(*mut c_void) -> usize = core::mem::transmute(function);
        function(block)
    }
}
