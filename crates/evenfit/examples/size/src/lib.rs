//! The smallest program that allocates, reallocates and frees. Its size less that of the one
//! without an allocator is the size of the allocator's code.
#![no_std]

use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

mod allocator;
#[cfg(feature = "static-heap")]
mod static_heap;
use allocator::Allocator;

/// A heap in a static contains its region.
const POOL_BYTES: usize = if cfg!(feature = "static-heap") { 0 } else { 64 * 1024 };
static mut POOL: [MaybeUninit<u8>; POOL_BYTES] = [MaybeUninit::uninit(); POOL_BYTES];
static mut ALLOCATOR: MaybeUninit<Allocator> = MaybeUninit::uninit();

/// Any memory manager without a lock, over one pool.
trait Manage: Sized {
    unsafe fn over(base: NonNull<u8>, len_bytes: usize) -> Option<Self>;
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8;
    unsafe fn dealloc(&mut self, ptr: *mut u8, layout: Layout);
    unsafe fn realloc(&mut self, ptr: *mut u8, old: Layout, new_bytes: usize) -> *mut u8;
}

/// Whether the pool is large enough.
#[unsafe(no_mangle)]
pub extern "C" fn probe_start() -> bool {
    // SAFETY: called once, before everything else.
    unsafe {
        let base = NonNull::new_unchecked((&raw mut POOL).cast());
        match Allocator::over(base, POOL_BYTES) {
            Some(allocator) => (*(&raw mut ALLOCATOR)).write(allocator),
            None => return false,
        };
    }
    true
}

/// # Safety
/// After `probe_start`; by one thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn probe_alloc(bytes: usize, align: usize) -> *mut u8 {
    match Layout::from_size_align(bytes, align) {
        // SAFETY: as promised by the caller.
        Ok(layout) => unsafe { (*(&raw mut ALLOCATOR)).assume_init_mut().alloc(layout) },
        Err(_) => core::ptr::null_mut(),
    }
}

/// # Safety
/// As for `probe_alloc`, and the block must be live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn probe_free(ptr: *mut u8, bytes: usize, align: usize) {
    // SAFETY: as promised by the caller.
    unsafe {
        let layout = Layout::from_size_align_unchecked(bytes, align);
        (*(&raw mut ALLOCATOR)).assume_init_mut().dealloc(ptr, layout);
    }
}

/// # Safety
/// As for `probe_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn probe_realloc(
    ptr: *mut u8,
    bytes: usize,
    align: usize,
    new_bytes: usize,
) -> *mut u8 {
    // SAFETY: as promised by the caller.
    unsafe {
        let layout = Layout::from_size_align_unchecked(bytes, align);
        let allocator = (*(&raw mut ALLOCATOR)).assume_init_mut();
        Manage::realloc(allocator, ptr, layout, new_bytes)
    }
}

/// For crates that link `alloc` without using it here.
#[cfg(feature = "talc")]
mod unused {
    struct Nothing;

    // SAFETY: it never allocates.
    unsafe impl core::alloc::GlobalAlloc for Nothing {
        unsafe fn alloc(&self, _: core::alloc::Layout) -> *mut u8 {
            core::ptr::null_mut()
        }
        unsafe fn dealloc(&self, _: *mut u8, _: core::alloc::Layout) {}
    }

    #[global_allocator]
    static NOTHING: Nothing = Nothing;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
