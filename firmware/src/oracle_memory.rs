//! Memory for what tests know of the heap. It comes from another allocator, so that a fault of the
//! heap under test can't hide itself.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::RefCell;
use core::mem::MaybeUninit;
use core::ptr::{NonNull, null_mut, slice_from_raw_parts_mut};

use critical_section::Mutex;
use rlsf::Tlsf;

/// The board's PSRAM, which neither linker nor stack uses.
const PSRAM_START: usize = 0x2100_0000;
const PSRAM_BYTES: usize = 16 << 20;

type State = Option<Tlsf<'static, u32, u32, 21, 16>>;

/// The board's PSRAM as a global allocator.
pub struct Psram(Mutex<RefCell<State>>);

impl Psram {
    #[expect(clippy::new_without_default, reason = "meant for one static only")]
    pub const fn new() -> Self {
        Self(Mutex::new(RefCell::new(None)))
    }

    fn with<T>(&self, f: impl FnOnce(&mut Tlsf<'static, u32, u32, 21, 16>) -> T) -> T {
        critical_section::with(|token| {
            f(self.0.borrow_ref_mut(token).get_or_insert_with(|| {
                let mut tlsf = Tlsf::new();
                let start: *mut MaybeUninit<u8> =
                    core::ptr::with_exposed_provenance_mut(PSRAM_START);
                let psram = slice_from_raw_parts_mut(start.cast::<u8>(), PSRAM_BYTES);
                // SAFETY: the board has memory there, and nothing else uses it.
                unsafe { tlsf.insert_free_block_ptr(NonNull::new_unchecked(psram)) };
                tlsf
            }))
        })
    }
}

// SAFETY: as rlsf's own, used within a critical section.
unsafe impl GlobalAlloc for Psram {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.with(|tlsf| tlsf.allocate(layout)).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: a block of this allocator with its alignment, as promised by the caller.
        self.with(|tlsf| unsafe { tlsf.deallocate(NonNull::new_unchecked(ptr), layout.align()) });
    }
}
