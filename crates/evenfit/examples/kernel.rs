//! Kernel style: the lock masks interrupts and restores them, and the memory is known only at boot.
//!
//! The interrupt flag is simulated; in a kernel it is `cli` and `popfq`, or `msr daifset`.
//!
//!     cargo run -p evenfit --example kernel

use std::alloc::Layout;
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use evenfit::{Lock, LockedHeap};

/// The processor's interrupt flag.
static INTERRUPTS: AtomicBool = AtomicBool::new(true);
static TIMES_MASKED: AtomicUsize = AtomicUsize::new(0);

/// On a single core nobody else runs while interrupts are masked.
struct InterruptsMasked {
    held: Cell<bool>,
    were_on: Cell<bool>,
}

// SAFETY: one core; both cells are accessed only with interrupts masked.
unsafe impl Sync for InterruptsMasked {}

// SAFETY: with interrupts masked nothing else runs on the one core, and `held` refuses nesting.
unsafe impl Lock for InterruptsMasked {
    const UNLOCKED: Self = Self { held: Cell::new(false), were_on: Cell::new(false) };

    fn acquire(&self) {
        let were_on = INTERRUPTS.swap(false, Ordering::SeqCst);
        TIMES_MASKED.fetch_add(1, Ordering::Relaxed);
        assert!(!self.held.replace(true), "the heap was used while it was locked");
        self.were_on.set(were_on);
    }

    unsafe fn release(&self) {
        self.held.set(false);
        INTERRUPTS.store(self.were_on.get(), Ordering::SeqCst);
    }
}

// In a kernel this static is the `#[global_allocator]`.
static HEAP: LockedHeap<'static, InterruptsMasked> = LockedHeap::empty();

/// The memory that the boot loader reports as free.
fn free_memory() -> (NonNull<u8>, usize) {
    let memory = Box::leak(vec![MaybeUninit::<u8>::uninit(); 512 * 1024].into_boxed_slice());
    let len_bytes = memory.len();
    (NonNull::from(memory).cast(), len_bytes)
}

fn main() {
    let (base, len_bytes) = free_memory();
    // SAFETY: the boot loader gives this memory to the kernel, which uses it for nothing else.
    unsafe { HEAP.init_raw(base, len_bytes) }.expect("enough memory to boot");

    let page = Layout::from_size_align(4096, 4096).expect("a page");
    let mut pages = Vec::new();
    while let Ok(block) = HEAP.allocate(page) {
        assert!(INTERRUPTS.load(Ordering::SeqCst), "interrupts are on again");
        pages.push(block.cast::<u8>());
    }
    println!("{} pages from {len_bytes} bytes", pages.len());
    assert!(pages.iter().all(|page| page.addr().get() % 4096 == 0));
    for block in pages {
        // SAFETY: allocated above with this layout, freed once.
        unsafe { HEAP.deallocate(block, page) };
    }
    assert_eq!(HEAP.stats().used_bytes, 0);
    let times = TIMES_MASKED.load(Ordering::Relaxed);
    println!("interrupts were masked {times} times, each for one bounded operation");
}
