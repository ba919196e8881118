//! Allocators that get their memory from the operating system. Only their speed is compared.

use std::alloc::Layout;
use std::ffi::c_void;

use super::{Peer, moved};

/// The alignment of C's `malloc`.
const MALLOC_ALIGN: usize = 16;

macro_rules! os_peer {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name;
    };
}

os_peer!(
    /// The C library's `malloc`; `aligned_alloc` only where the alignment needs it, as Rust's
    /// `System` does.
    Glibc
);

impl Peer for Glibc {
    unsafe fn over(_: *mut u8, _: usize) -> Option<Box<Self>> {
        Some(Box::new(Self))
    }

    #[inline]
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: valid arguments; `aligned_alloc` of glibc accepts any size.
        unsafe {
            if layout.align() <= MALLOC_ALIGN {
                libc::malloc(layout.size()).cast()
            } else {
                libc::aligned_alloc(layout.align(), layout.size()).cast()
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&mut self, ptr: *mut u8, _: Layout) {
        // SAFETY: the caller's promise.
        unsafe { libc::free(ptr.cast()) }
    }

    #[inline]
    unsafe fn realloc(&mut self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe {
            if layout.align() <= MALLOC_ALIGN {
                return libc::realloc(ptr.cast(), new_size).cast();
            }
            moved(self, ptr, layout, new_size)
        }
    }
}

#[cfg(feature = "mimalloc")]
os_peer!(
    /// mimalloc 3 without its secure mode. `mi_malloc` where 8 bytes of alignment do: that is its
    /// fastest path.
    MiMalloc
);

#[cfg(feature = "mimalloc")]
impl Peer for MiMalloc {
    unsafe fn over(_: *mut u8, _: usize) -> Option<Box<Self>> {
        Some(Box::new(Self))
    }

    #[inline]
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: valid arguments.
        unsafe {
            if layout.align() <= 8 {
                libmimalloc_sys::mi_malloc(layout.size()).cast()
            } else {
                libmimalloc_sys::mi_malloc_aligned(layout.size(), layout.align()).cast()
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&mut self, ptr: *mut u8, _: Layout) {
        // SAFETY: the caller's promise.
        unsafe { libmimalloc_sys::mi_free(ptr.cast::<c_void>()) }
    }

    #[inline]
    unsafe fn realloc(&mut self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe {
            if layout.align() <= 8 {
                libmimalloc_sys::mi_realloc(ptr.cast(), new_size).cast()
            } else {
                libmimalloc_sys::mi_realloc_aligned(ptr.cast(), new_size, layout.align()).cast()
            }
        }
    }
}

#[cfg(feature = "snmalloc")]
os_peer!(
    /// snmalloc without its checks, with sized deallocation, as its Rust crate uses it.
    SnMalloc
);

#[cfg(feature = "snmalloc")]
impl Peer for SnMalloc {
    unsafe fn over(_: *mut u8, _: usize) -> Option<Box<Self>> {
        Some(Box::new(Self))
    }

    #[inline]
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: valid arguments.
        unsafe { snmalloc_sys::sn_rust_alloc(layout.align(), layout.size()).cast() }
    }

    #[inline]
    unsafe fn dealloc(&mut self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe {
            snmalloc_sys::sn_rust_dealloc(ptr.cast(), layout.align(), layout.size());
        }
    }

    #[inline]
    unsafe fn realloc(&mut self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe {
            snmalloc_sys::sn_rust_realloc(ptr.cast(), layout.align(), layout.size(), new_size)
                .cast()
        }
    }
}

#[cfg(feature = "jemalloc")]
os_peer!(
    /// jemalloc with sized deallocation; plain `malloc` and `realloc` where the alignment allows,
    /// as its Rust crate does.
    JeMalloc
);

#[cfg(feature = "jemalloc")]
impl JeMalloc {
    /// The `flags` argument of its extended calls for an alignment: the logarithm in the low bits.
    #[inline]
    fn flags(layout: Layout) -> i32 {
        if layout.align() <= MALLOC_ALIGN && layout.align() <= layout.size() {
            0
        } else {
            layout.align().trailing_zeros() as i32
        }
    }
}

#[cfg(feature = "jemalloc")]
impl Peer for JeMalloc {
    unsafe fn over(_: *mut u8, _: usize) -> Option<Box<Self>> {
        Some(Box::new(Self))
    }

    #[inline]
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: valid arguments; sizes are not 0.
        unsafe {
            match Self::flags(layout) {
                0 => tikv_jemalloc_sys::malloc(layout.size()).cast(),
                flags => tikv_jemalloc_sys::mallocx(layout.size(), flags).cast(),
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&mut self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { tikv_jemalloc_sys::sdallocx(ptr.cast(), layout.size(), Self::flags(layout)) }
    }

    #[inline]
    unsafe fn realloc(&mut self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe {
            let new = Layout::from_size_align_unchecked(new_size, layout.align());
            match Self::flags(new) {
                0 => tikv_jemalloc_sys::realloc(ptr.cast(), new_size).cast(),
                flags => tikv_jemalloc_sys::rallocx(ptr.cast(), new_size, flags).cast(),
            }
        }
    }
}
