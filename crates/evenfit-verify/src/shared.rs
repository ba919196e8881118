//! The faces of heaps behind a lock: `StaticHeap`, `LockedHeap`, `Budget`, used by one thread or by three.

use core::alloc::Layout;
use core::cell::Cell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use evenfit::{
    Budget, Compact, Geometry, Heap, LockedHeap, OutOfMemory, SharedHeap, StaticHeap, Tiers,
    WhenFull, set_misuse_hook,
};

use crate::customer::{Customer, Face};
use crate::op::Bytes;

/// How many threads use a heap at once.
const THREADS: usize = 3;

/// A heap behind a lock.
struct Shared<'heap, H: SharedHeap>(&'heap H);

impl<H: SharedHeap> Face for Shared<'_, H> {
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.allocate(layout).ok().map(NonNull::cast)
    }
    fn allocate_zeroed(&self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.allocate_zeroed(layout).ok().map(NonNull::cast)
    }
    unsafe fn free(&self, ptr: NonNull<u8>, layout: Layout) -> bool {
        // SAFETY: passed on to the caller.
        unsafe { self.0.try_deallocate(ptr, layout) }.is_ok()
    }
    unsafe fn reallocate(&self, ptr: NonNull<u8>, old: Layout, new: Layout) -> Option<NonNull<u8>> {
        // SAFETY: passed on to the caller.
        unsafe { self.0.reallocate(ptr, old, new) }
            .ok()
            .map(NonNull::cast)
    }
    fn usable_bytes(&self, ptr: NonNull<u8>) -> Option<usize> {
        self.0.usable_size(ptr).ok()
    }
    fn live_blocks(&self) -> usize {
        self.0.stats().live_blocks
    }
    fn largest_free(&self) -> Option<usize> {
        Some(self.0.largest_free())
    }
    fn is_sound(&self) -> bool {
        let counted = self.0.inspect(|heap| heap.blocks().count());
        self.0.check().is_ok() && counted != Some(0)
    }
}

std::thread_local! {
    /// Whether the misuse hook was called on this thread.
    static REFUSED: Cell<bool> = const { Cell::new(false) };
}

/// A budget: its refusals are told to the hook alone.
struct Budgeted<'budget, 'heap, H: SharedHeap>(&'budget Budget<'heap, H>, &'heap H);

impl<H: SharedHeap> Face for Budgeted<'_, '_, H> {
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        let block = self.0.allocate(layout).ok().map(NonNull::cast);
        let stats = self.0.stats();
        assert!(stats.peak_used_bytes <= stats.limit_bytes, "{stats:?}");
        block
    }
    fn allocate_zeroed(&self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.allocate_zeroed(layout).ok().map(NonNull::cast)
    }
    unsafe fn free(&self, ptr: NonNull<u8>, layout: Layout) -> bool {
        REFUSED.set(false);
        // SAFETY: passed on to the caller.
        unsafe { self.0.deallocate(ptr, layout) };
        !REFUSED.get()
    }
    unsafe fn reallocate(&self, ptr: NonNull<u8>, old: Layout, new: Layout) -> Option<NonNull<u8>> {
        // SAFETY: passed on to the caller.
        unsafe { self.0.reallocate(ptr, old, new) }
            .ok()
            .map(NonNull::cast)
    }
    fn usable_bytes(&self, ptr: NonNull<u8>) -> Option<usize> {
        self.1.usable_size(ptr).ok()
    }
    fn live_blocks(&self) -> usize {
        self.0.stats().live_blocks
    }
    fn largest_free(&self) -> Option<usize> {
        None
    }
    fn is_sound(&self) -> bool {
        let stats = self.0.stats();
        stats.used_bytes <= stats.limit_bytes && self.1.check().is_ok()
    }
}

/// Uses one of the heaps as the bytes say.
///
/// # Panics
/// Where it breaks a promise.
pub fn run(bytes: &[u8]) {
    set_misuse_hook(|_| REFUSED.set(true));
    let mut bytes = Bytes::new(bytes);
    let which = bytes.byte();
    let hook = bytes.byte().is_multiple_of(4);
    let region_bytes = 2048 + bytes.number(3) % (512 << 10);
    match which % 6 {
        0 => with_heap(&StaticHeap::<{ 64 << 10 }>::new(), hook, &mut bytes),
        1 => with_region::<evenfit::Standard>(region_bytes, Tiers::BlocksOnly, hook, &mut bytes),
        2 => with_region::<evenfit::Standard>(region_bytes, Tiers::WithSlabs, hook, &mut bytes),
        3 => with_region::<Compact>(region_bytes % (256 << 10), Tiers::Auto, hook, &mut bytes),
        4 => with_budgets(region_bytes, Tiers::BlocksOnly, &mut bytes),
        _ => with_budgets(region_bytes, Tiers::WithSlabs, &mut bytes),
    }
}

fn region(bytes: usize) -> Vec<MaybeUninit<u8>> {
    vec![MaybeUninit::new(0xDB); bytes]
}

fn with_region<G: Geometry>(region_bytes: usize, tiers: Tiers, hook: bool, bytes: &mut Bytes<'_>) {
    let mut region = region(region_bytes);
    if let Ok(heap) = Heap::<G>::from_region_with(&mut region, tiers) {
        let heap: LockedHeap<'_, evenfit::SpinLock, G> = LockedHeap::new(heap);
        with_heap(&heap, hook, bytes);
    }
}

/// One that has nothing to give, and must be asked only so often.
fn give_up_later(request: &OutOfMemory) -> WhenFull {
    if request.retries < 2 {
        WhenFull::Retry
    } else {
        WhenFull::Fail
    }
}

fn with_heap<H: SharedHeap + Sync>(heap: &H, hook: bool, bytes: &mut Bytes<'_>) {
    if hook {
        heap.set_out_of_memory_hook(Some(give_up_later));
    }
    let memory = heap
        .inspect(|heap| heap.pool_start().addr())
        .map_or(0..0, |start| start..start + heap.stats().pool_bytes);
    let face = Shared(heap);
    if bytes.byte().is_multiple_of(2) {
        Customer::new(&face, memory, true, 1).run(bytes);
    } else {
        let script = bytes.rest();
        std::thread::scope(|threads| {
            for (thread, part) in script.chunks(script.len() / THREADS + 1).enumerate() {
                let (face, memory) = (&face, memory.clone());
                threads.spawn(move || {
                    Customer::new(face, memory, false, thread as u64 + 1)
                        .run(&mut Bytes::new(part));
                });
            }
        });
    }
    expect_empty(heap);
}

/// Two budgets over one heap, whose limits together exceed it, used in turns.
fn with_budgets(region_bytes: usize, tiers: Tiers, bytes: &mut Bytes<'_>) {
    let mut region = region(region_bytes);
    let Ok(heap) = Heap::<evenfit::Standard>::from_region_with(&mut region, tiers) else {
        return;
    };
    let heap: LockedHeap = LockedHeap::new(heap);
    let pool_bytes = heap.stats().pool_bytes;
    let start = heap.inspect(|heap| heap.pool_start().addr()).unwrap_or(0);
    let limits = [bytes.number(3), bytes.number(3)].map(|limit| limit % pool_bytes);
    let script = bytes.rest();
    std::thread::scope(|threads| {
        for (index, part) in script.chunks(script.len() / 2 + 1).enumerate() {
            let heap = &heap;
            threads.spawn(move || {
                let budget = heap.budget("one of two", limits[index]);
                let face = Budgeted(&budget, heap);
                let memory = start..start + pool_bytes;
                let customer = Customer::new(&face, memory, false, index as u64 + 1);
                customer.run(&mut Bytes::new(part));
                assert_eq!(budget.stats().live_blocks, 0);
                assert_eq!(budget.stats().used_bytes, 0);
            });
        }
    });
    expect_empty(&heap);
}

fn expect_empty(heap: &impl SharedHeap) {
    assert_eq!(heap.check(), Ok(()));
    let stats = heap.stats();
    assert_eq!((stats.live_blocks, stats.used_bytes), (0, 0));
}
