//! Shared heaps, `StaticHeap`, `LockedHeap` and `Budget`, used by one thread or by three.

use core::alloc::Layout;
use core::cell::Cell;
use core::mem::MaybeUninit;
use core::ops::Range;
use core::ptr::NonNull;

use evenfit::{
    Aligned, BlocksOnly, Budget, Compact, Geometry, Heap, Lock, LockedHeap, OutOfMemory, SpinLock,
    Standard, StaticHeap, Stats, Tiers, WhenFull, Wide, WithSlabs, set_misuse_hook,
};

use crate::client::{Client, Interface};
use crate::op::Bytes;

/// How many threads use a heap at once.
const THREADS: usize = 3;

/// A heap behind a lock.
trait Shared: Interface + Sync {
    /// The addresses of the pool.
    fn pool(&self) -> Range<usize>;
    fn stats(&self) -> Stats;
    /// Asks an out-of-memory hook that provides nothing.
    fn set_futile_hook(&self);
}

macro_rules! shared {
    ([$($generics:tt)*] $heap:ty) => {
        impl<$($generics)*> Interface for $heap {
            fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
                self.allocate(layout).ok().map(NonNull::cast)
            }
            fn allocate_zeroed(&self, layout: Layout) -> Option<NonNull<u8>> {
                self.allocate_zeroed(layout).ok().map(NonNull::cast)
            }
            unsafe fn free(&self, ptr: NonNull<u8>, layout: Layout) -> bool {
                // SAFETY: passed on to the caller.
                unsafe { self.try_deallocate(ptr, layout) }.is_ok()
            }
            unsafe fn reallocate(
                &self,
                ptr: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Option<NonNull<u8>> {
                // SAFETY: passed on to the caller.
                unsafe { self.reallocate(ptr, old, new) }.ok().map(NonNull::cast)
            }
            fn usable_bytes(&self, ptr: NonNull<u8>) -> Option<usize> {
                self.usable_size(ptr).ok()
            }
            fn live_blocks(&self) -> usize {
                self.stats().live_blocks
            }
            fn largest_free(&self) -> Option<usize> {
                Some(self.largest_free())
            }
            fn is_sound(&self) -> bool {
                let counted = self.inspect(|heap| heap.blocks().count());
                self.check().is_ok() && counted != Some(0)
            }
        }

        impl<$($generics)*> Shared for $heap {
            fn pool(&self) -> Range<usize> {
                let start = self.inspect(|heap| heap.pool_start().addr());
                start.map_or(0..0, |start| start..start + self.stats().pool_bytes)
            }
            fn stats(&self) -> Stats {
                self.stats()
            }
            fn set_futile_hook(&self) {
                self.set_out_of_memory_hook(Some(give_up_later));
            }
        }
    };
}

shared!([const BYTES: usize, L: Lock, T: Tiers, G: Geometry] StaticHeap<BYTES, L, T, G>);
shared!([L: Lock, T: Tiers, G: Geometry] LockedHeap<'_, L, T, G>);

std::thread_local! {
    /// Whether the misuse hook was called on this thread.
    static REFUSED: Cell<bool> = const { Cell::new(false) };
}

/// A heap that budgets share.
type SharedOut<'pool, T> = LockedHeap<'pool, SpinLock, T, Standard>;

/// A budget; only the hook learns of its refusals.
struct Budgeted<'budget, 'heap, 'pool, T: Tiers>(
    &'budget Budget<'heap, SharedOut<'pool, T>>,
    &'heap SharedOut<'pool, T>,
);

impl<T: Tiers> Interface for Budgeted<'_, '_, '_, T> {
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.allocate(layout).ok().map(NonNull::cast)
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
        unsafe { self.0.reallocate(ptr, old, new) }.ok().map(NonNull::cast)
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

/// How many heaps [`run`] chooses from.
pub const HEAPS: u8 = 9;

/// Uses one of the heaps as the bytes say.
///
/// # Panics
/// If it does something wrong.
pub fn run(bytes: &[u8]) {
    set_misuse_hook(|_| REFUSED.set(true));
    let mut bytes = Bytes::new(bytes);
    let which = bytes.byte();
    let hook = bytes.byte().is_multiple_of(4);
    let region_bytes = 2048 + bytes.number(3) % (512 << 10);
    let bytes = &mut bytes;
    match which % HEAPS {
        0 => with_heap(&StaticHeap::<{ 64 << 10 }>::new(), hook, bytes),
        1 => with_region::<BlocksOnly, Standard>(region_bytes, hook, bytes),
        2 => with_region::<WithSlabs, Standard>(region_bytes, hook, bytes),
        3 => with_region::<BlocksOnly, Compact>(region_bytes % (256 << 10), hook, bytes),
        4 => with_budgets::<BlocksOnly>(region_bytes, bytes),
        5 => with_budgets::<WithSlabs>(region_bytes, bytes),
        6 => with_region::<WithSlabs, Aligned>(region_bytes, hook, bytes),
        7 => with_region::<WithSlabs, Wide>(region_bytes, hook, bytes),
        _ => {
            let heap = StaticHeap::<{ 64 << 10 }, SpinLock, WithSlabs, Standard>::new();
            with_heap(&heap, hook, bytes);
        }
    }
}

fn region(bytes: usize) -> Vec<MaybeUninit<u8>> {
    vec![MaybeUninit::new(0xDB); bytes]
}

fn with_region<T: Tiers, G: Geometry>(region_bytes: usize, hook: bool, bytes: &mut Bytes<'_>) {
    let mut region = region(region_bytes);
    let builder = Heap::builder().tiers::<T>().geometry::<G>();
    if let Ok(heap) = builder.build(&mut region) {
        let heap: LockedHeap<'_, SpinLock, T, G> = LockedHeap::new(heap);
        with_heap(&heap, hook, bytes);
    }
}

/// A hook that provides nothing, and may be called only a limited number of times.
fn give_up_later(request: &OutOfMemory) -> WhenFull {
    if request.retries < 2 { WhenFull::Retry } else { WhenFull::Fail }
}

fn with_heap<H: Shared>(heap: &H, hook: bool, bytes: &mut Bytes<'_>) {
    if hook {
        heap.set_futile_hook();
    }
    let memory = heap.pool();
    if bytes.byte().is_multiple_of(2) {
        Client::new(heap, memory, true, 1).run(bytes);
    } else {
        let script = bytes.rest();
        std::thread::scope(|threads| {
            for (thread, part) in script.chunks(script.len() / THREADS + 1).enumerate() {
                let memory = memory.clone();
                threads.spawn(move || {
                    let client = Client::new(heap, memory, false, thread as u64 + 1);
                    client.run(&mut Bytes::new(part));
                });
            }
        });
    }
    expect_empty(heap);
}

/// Two budgets over one heap, whose limits together exceed it, used in turns.
fn with_budgets<T: Tiers>(region_bytes: usize, bytes: &mut Bytes<'_>) {
    let mut region = region(region_bytes);
    let builder = Heap::builder().tiers::<T>().geometry::<Standard>();
    let Ok(heap) = builder.build(&mut region) else {
        return;
    };
    let heap: SharedOut<'_, T> = LockedHeap::new(heap);
    let pool = heap.pool();
    let limits = [bytes.number(3), bytes.number(3)].map(|limit| limit % pool.len());
    let script = bytes.rest();
    std::thread::scope(|threads| {
        for (index, part) in script.chunks(script.len() / 2 + 1).enumerate() {
            let (heap, pool) = (&heap, pool.clone());
            threads.spawn(move || {
                let budget = heap.budget("one of two", limits[index]);
                let budgeted = Budgeted(&budget, heap);
                let client = Client::new(&budgeted, pool, false, index as u64 + 1);
                client.run(&mut Bytes::new(part));
                assert_eq!(budget.stats().live_blocks, 0);
                assert_eq!(budget.stats().used_bytes, 0);
            });
        }
    });
    expect_empty(&heap);
}

fn expect_empty<H: Shared>(heap: &H) {
    assert!(heap.is_sound());
    let stats = heap.stats();
    assert_eq!((stats.live_blocks, stats.used_bytes), (0, 0));
}
