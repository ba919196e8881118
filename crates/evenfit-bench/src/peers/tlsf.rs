//! rlsf: TLSF in Rust, in two configurations.

use std::alloc::Layout;
use std::ptr::NonNull;

use rlsf::Tlsf;

use super::Peer;

/// What a careful user writes: 24 first levels manage half a GiB, 32 second levels round a request
/// by at most 1/32; the control structure has 6 KiB. With 16 second levels both footprint and
/// instructions were a little worse.
pub type Sensible = Rlsf<u32, u32, 24, 32>;

/// What `embedded-alloc` 0.7 uses: a 32 KiB control structure, whatever the pool.
pub type Embedded = Rlsf<usize, usize, { usize::BITS as usize }, { usize::BITS as usize }>;

/// rlsf with first- and second-level bitmaps and lengths.
pub struct Rlsf<F, S, const FLLEN: usize, const SLLEN: usize>(Tlsf<'static, F, S, FLLEN, SLLEN>);

macro_rules! rlsf_peer {
    ($f:ty, $s:ty, $fllen:expr, $sllen:expr) => {
        impl Peer for Rlsf<$f, $s, { $fllen }, { $sllen }> {
            unsafe fn over(base: *mut u8, len_bytes: usize) -> Option<Box<Self>> {
                let region = NonNull::slice_from_raw_parts(NonNull::new(base)?, len_bytes);
                let mut tlsf = Tlsf::new();
                // SAFETY: the caller's promise.
                unsafe { tlsf.insert_free_block_ptr(region) }?;
                Some(Box::new(Self(tlsf)))
            }

            #[inline]
            unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
                match self.0.allocate(layout) {
                    Some(ptr) => ptr.as_ptr(),
                    None => std::ptr::null_mut(),
                }
            }

            #[inline]
            unsafe fn dealloc(&mut self, ptr: *mut u8, layout: Layout) {
                // SAFETY: the caller's promise.
                unsafe { self.0.deallocate(NonNull::new_unchecked(ptr), layout.align()) }
            }

            #[inline]
            unsafe fn realloc(&mut self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
                // SAFETY: the caller's promise.
                let new = unsafe {
                    let new_layout = Layout::from_size_align_unchecked(new_size, layout.align());
                    self.0.reallocate(NonNull::new_unchecked(ptr), new_layout)
                };
                match new {
                    Some(ptr) => ptr.as_ptr(),
                    None => std::ptr::null_mut(),
                }
            }
        }
    };
}

rlsf_peer!(u32, u32, 24, 32);
rlsf_peer!(usize, usize, usize::BITS as usize, usize::BITS as usize);
