//! The models. Each runs its closure once for every possible execution.

use std::alloc::Layout;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use evenfit::lock::PiFutex;
use evenfit::{AllocError, InitError, Lock, LockedHeap, SpinLock, StaticHeap, WhenFull};
use loom::sync::Arc;
use loom::thread;

mod can_fail;

/// Every interleaving of two threads.
const ALL: Option<usize> = None;

/// Of three threads, those interleavings in which running threads are interrupted this often. Most
/// known faults need two interruptions (Musuvathi, Qadeer: Iterative context bounding, 2007).
const FOUR_PREEMPTIONS: Option<usize> = Some(4);

fn explore(preemptions_max: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let mut explorer = loom::model::Builder::new();
    explorer.preemption_bound = preemptions_max;
    let executions = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = executions.clone();
    explorer.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let name = std::thread::current().name().map(String::from);
    println!("{}: {executions:?} executions", name.unwrap_or_default());
}

/// A counter that only a lock keeps correct: loom stops if two uses aren't ordered.
struct Counter<L> {
    lock: L,
    count: loom::cell::UnsafeCell<usize>,
}

// SAFETY: the count is used with the lock held, which is what the models try.
unsafe impl<L: Sync> Sync for Counter<L> {}

impl<L: Lock> Counter<L> {
    fn new() -> Self {
        let counter = Self { lock: L::UNLOCKED, count: loom::cell::UnsafeCell::new(0) };
        counter.increment();
        counter
    }

    fn increment(&self) -> usize {
        self.lock.with(|| {
            self.count.with_mut(|count| {
                // SAFETY: the lock is held.
                unsafe {
                    *count += 1;
                    *count
                }
            })
        })
    }
}

/// `threads` threads and the first one increment `rounds` times each.
fn excludes<L: Lock + Send + 'static>(threads: usize, rounds: usize) {
    let preemptions_max = if threads > 1 { FOUR_PREEMPTIONS } else { ALL };
    explore(preemptions_max, move || {
        let counter = Arc::new(Counter::<L>::new());
        let work = {
            let counter = counter.clone();
            move || {
                for _ in 0..rounds {
                    counter.increment();
                }
            }
        };
        let others: Vec<_> = (0..threads).map(|_| thread::spawn(work.clone())).collect();
        work();
        others.into_iter().for_each(|other| other.join().expect("no panic"));
        assert_eq!(counter.increment(), (threads + 1) * rounds + 2);
    });
}

#[test]
fn the_spin_lock_excludes_two_threads() {
    excludes::<SpinLock>(1, 2);
}

#[test]
fn the_spin_lock_excludes_three_threads() {
    excludes::<SpinLock>(2, 1);
}

#[test]
fn the_futex_excludes_two_threads() {
    excludes::<PiFutex>(1, 2);
}

/// The holder passes the lock to one waiter while the other still waits.
#[test]
fn the_futex_excludes_three_threads() {
    excludes::<PiFutex>(2, 1);
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 8).expect("a layout")
}

/// Allocates a block, writes it, reads it again, frees it.
fn use_block<L: Lock>(heap: &StaticHeap<1024, L>, bytes: usize, stamp: u8) {
    let block = heap.allocate(layout(bytes)).expect("the pool has room").cast::<u8>();
    // SAFETY: the block is live, has this length, and only this thread uses it.
    unsafe {
        block.write_bytes(stamp, bytes);
        let bytes = std::slice::from_raw_parts(block.as_ptr(), bytes);
        assert!(bytes.iter().all(|&byte| byte == stamp));
        heap.deallocate(block, layout(bytes.len()));
    }
}

fn is_empty_and_sound<L: Lock>(heap: &StaticHeap<1024, L>) {
    assert_eq!(heap.check(), Ok(()));
    assert_eq!((heap.stats().live_blocks, heap.stats().used_bytes), (0, 0));
}

/// The atomics of a lock are made at its first use, which must come before all threads.
fn used<L: Lock>() -> StaticHeap<1024, L> {
    let heap = StaticHeap::new();
    heap.stats();
    heap
}

fn static_heap<L: Lock + Send + 'static>() -> Arc<StaticHeap<1024, L>> {
    let heap = Arc::new(used());
    heap.stats();
    heap
}

fn shared_by_two<L: Lock + Send + 'static>() {
    explore(ALL, || {
        let heap = static_heap::<L>();
        let other = heap.clone();
        let thread = thread::spawn(move || use_block(&other, 100, 1));
        use_block(&heap, 60, 2);
        thread.join().expect("no panic");
        is_empty_and_sound(&heap);
    });
}

#[test]
fn a_static_heap_is_shared_by_spinning() {
    shared_by_two::<SpinLock>();
}

#[test]
fn a_static_heap_is_shared_by_futex() {
    shared_by_two::<PiFutex>();
}

/// The first requests of two threads race to build the heap: one builds it, and no block is lost to
/// a second building.
#[test]
fn a_static_heap_is_built_once() {
    explore(ALL, || {
        // A heap that was moved is built anew.
        let heap = Arc::new(used::<SpinLock>());
        let allocate = |heap: &StaticHeap<1024>| {
            heap.allocate(layout(64)).expect("the pool has room").cast::<u8>().addr()
        };
        let other = heap.clone();
        let thread = thread::spawn(move || allocate(&other));
        let mine = allocate(&heap);
        let theirs = thread.join().expect("no panic");
        assert!(mine.get().abs_diff(theirs.get()) >= 64);
        assert_eq!(heap.stats().live_blocks, 2);
        assert_eq!(heap.check(), Ok(()));
    });
}

fn region() -> &'static mut [MaybeUninit<u8>] {
    Box::leak(Box::new([MaybeUninit::uninit(); 1024]))
}

/// Two threads give an empty heap memory while a third allocates: one of them does, and the third
/// has a block of it or none.
#[test]
fn an_empty_heap_is_given_memory_once() {
    explore(FOUR_PREEMPTIONS, || {
        let heap: Arc<LockedHeap<'static>> = Arc::new(LockedHeap::empty());
        assert_eq!(heap.allocate(layout(8)), Err(AllocError::OutOfMemory));
        let (second, third) = (heap.clone(), heap.clone());
        let fills = thread::spawn(move || second.init(region()));
        let allocates = thread::spawn(move || third.allocate(layout(100)).is_ok());
        let mine = heap.init(region());
        let theirs = fills.join().expect("no panic");
        let allocated = allocates.join().expect("no panic");
        assert!(
            [(Ok(()), Err(InitError::AlreadyBuilt)), (Err(InitError::AlreadyBuilt), Ok(()))]
                .contains(&(mine, theirs))
        );
        assert_eq!(heap.stats().live_blocks, usize::from(allocated));
    });
}

/// A block that must move is copied with no lock held, while another thread allocates and frees.
#[test]
fn a_moving_reallocation_keeps_what_it_moves() {
    explore(ALL, || {
        let heap = static_heap::<SpinLock>();
        let block = heap.allocate(layout(48)).expect("the pool has room").cast::<u8>();
        let _behind = heap.allocate(layout(16)).expect("the pool has room");
        // SAFETY: the block is live, and this thread's.
        unsafe { block.write_bytes(7, 48) };
        let other = heap.clone();
        let thread = thread::spawn(move || use_block(&other, 48, 1));
        // SAFETY: as above.
        unsafe {
            let moved = heap.reallocate(block, layout(48), layout(200)).expect("room").cast::<u8>();
            assert_ne!(moved, block);
            assert!(std::slice::from_raw_parts(moved.as_ptr(), 48).iter().all(|&byte| byte == 7));
        }
        thread.join().expect("no panic");
        assert_eq!(heap.stats().live_blocks, 2);
        assert_eq!(heap.check(), Ok(()));
    });
}

/// Two threads never have two blocks of a budget for one. A third thread that reads the counters
/// sees no more than the limit.
#[test]
fn a_budget_holds_for_all_threads() {
    explore(ALL, || {
        let heap: &'static StaticHeap<1024> = Box::leak(Box::new(StaticHeap::new()));
        heap.stats();
        let budget = Box::leak(Box::new(heap.budget("both", 100)));
        assert_eq!(budget.stats().used_bytes, 0);
        // Creates all of its counters.
        assert!(budget.allocate(layout(101)).is_err());
        let first = budget.allocate(layout(8)).expect("room").cast::<u8>();
        // SAFETY: it was just allocated with this layout.
        unsafe { budget.deallocate(first, layout(8)) };
        let budget = &*budget;
        let thread = thread::spawn(move || budget.allocate(layout(80)).ok().map(Block));
        let seen = budget.stats();
        assert!(seen.used_bytes <= 100 && seen.live_blocks <= 1 && seen.peak_used_bytes <= 100);
        let mine = budget.allocate(layout(80)).ok().map(Block);
        let theirs = thread.join().expect("no panic");
        assert!(mine.is_some() != theirs.is_some());
        let Block(block) = mine.or(theirs).expect("one has it");
        // SAFETY: allocated above through this budget.
        unsafe { budget.deallocate(block.cast(), layout(80)) };
        let stats = budget.stats();
        assert_eq!((stats.used_bytes, stats.live_blocks, stats.failed_requests), (0, 0, 2));
    });
}

/// A block that is passed between threads.
struct Block(NonNull<[u8]>);

// SAFETY: the block belongs to whoever has this.
unsafe impl Send for Block {}

loom::lazy_static! {
    /// What a test writes for a hook to read. Each execution has its own.
    static ref PREPARED: Prepared = Prepared(loom::cell::UnsafeCell::new(0));
}

struct Prepared(loom::cell::UnsafeCell<u32>);

// SAFETY: written before the hook is set, read by the hook.
unsafe impl Sync for Prepared {}

/// A hook reads what was written before it was set.
#[test]
fn a_hook_sees_what_was_written_before_it() {
    explore(ALL, || {
        let heap = static_heap::<SpinLock>();
        let _half = heap.allocate(layout(500)).expect("room");
        // Makes the hook's cell.
        heap.set_out_of_memory_hook(None);
        // SAFETY: there is no other thread yet.
        PREPARED.0.with_mut(|prepared| unsafe { *prepared = 1 });
        let other = heap.clone();
        let thread = thread::spawn(move || {
            // SAFETY: the hook isn't set yet, so nobody reads.
            PREPARED.0.with_mut(|prepared| unsafe { *prepared = 2 });
            other.set_out_of_memory_hook(Some(|_| {
                // SAFETY: no write follows the setting of the hook.
                PREPARED.0.with(|prepared| assert_eq!(unsafe { *prepared }, 2));
                WhenFull::Fail
            }));
        });
        let full = heap.allocate(layout(600));
        assert_eq!(full, Err(AllocError::OutOfMemory));
        thread.join().expect("no panic");
    });
}

/// The same for the misuse hook, which all heaps share.
#[test]
fn the_misuse_hook_sees_what_was_written_before_it() {
    explore(ALL, || {
        let heap = static_heap::<SpinLock>();
        evenfit::set_misuse_hook(|_| ());
        // SAFETY: there is no other thread yet.
        PREPARED.0.with_mut(|prepared| unsafe { *prepared = 1 });
        let thread = thread::spawn(|| {
            // SAFETY: the hook isn't set yet, so nobody reads.
            PREPARED.0.with_mut(|prepared| unsafe { *prepared = 2 });
            evenfit::set_misuse_hook(|_| {
                // SAFETY: no write follows the setting of the hook.
                PREPARED.0.with(|prepared| assert_eq!(unsafe { *prepared }, 2));
            });
        });
        // SAFETY: refused, whatever it is.
        unsafe { heap.deallocate(NonNull::dangling(), layout(8)) };
        thread.join().expect("no panic");
    });
}
