//! A child of `fork` can use a shared heap, whatever other threads were doing in it.
#![cfg(all(feature = "fork", unix))]

use std::alloc::Layout;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use evenfit::{Lock, SpinLock, StaticHeap};

const POOL_BYTES: usize = 1 << 20;
type Heap<L> = StaticHeap<POOL_BYTES, L>;

/// Allocates and frees blocks of both tiers.
fn use_heap<L: Lock>(heap: &Heap<L>, rounds: usize) {
    for round in 0..rounds {
        let layout = Layout::from_size_align(8 + round * 97 % 3_000, 8).expect("a layout");
        let block = heap.allocate(layout).expect("the pool has room").cast();
        // SAFETY: just allocated with this layout, and not used afterwards.
        unsafe { heap.deallocate(block, layout) };
    }
}

/// Whether the child ends well within ten seconds. One that hangs is killed.
fn ends_well(child: libc::pid_t) -> bool {
    let begun = Instant::now();
    let mut status = 0;
    loop {
        // SAFETY: the status lives during the call.
        let ended = unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) };
        if ended == child {
            return libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
        }
        if begun.elapsed() > Duration::from_secs(10) {
            // SAFETY: a child of this process that wasn't waited for.
            unsafe { libc::kill(child, libc::SIGKILL) };
            return false;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// Forks while two threads use the heap. The child uses it, checks it, and forks again.
fn forks<L: Lock + 'static>(heap: &'static Heap<L>, times: usize) {
    static OVER: AtomicBool = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                while !OVER.load(Ordering::Relaxed) {
                    use_heap(heap, 100);
                }
            });
        }
        let failed = (0..times).find(|_| {
            // SAFETY: the child allocates from the heap alone, and ends without destructors.
            let child = unsafe { libc::fork() };
            if child == 0 {
                use_heap(heap, 50);
                let is_whole = heap.check().is_ok();
                // SAFETY: as above.
                let grandchild = unsafe { libc::fork() };
                if grandchild == 0 {
                    use_heap(heap, 50);
                    // SAFETY: ends the process.
                    unsafe { libc::_exit(0) };
                }
                // SAFETY: ends the process.
                unsafe { libc::_exit(i32::from(!(is_whole && ends_well(grandchild)))) };
            }
            !ends_well(child)
        });
        OVER.store(true, Ordering::Relaxed);
        assert_eq!(failed, None, "the fork of this number");
    });
    OVER.store(false, Ordering::Relaxed);
    assert_eq!(heap.check(), Ok(()));
    assert_eq!(heap.stats().live_blocks, 0);
}

#[test]
fn a_child_of_a_fork_can_use_the_heap() {
    macro_rules! forks {
        ($($lock:ty),*) => {$({
            static HEAP: Heap<$lock> = StaticHeap::new();
            HEAP.register_fork_handlers().expect("there is memory");
            HEAP.register_fork_handlers().expect("again, which changes nothing");
            forks(&HEAP, 300);
        })*};
    }
    forks!(SpinLock);
    #[cfg(feature = "lock_api")]
    forks!(spin::Mutex<()>, parking_lot::RawMutex);
    #[cfg(feature = "critical-section")]
    forks!(evenfit::lock::CriticalSection);
    #[cfg(all(feature = "pi-futex", target_os = "linux"))]
    forks!(evenfit::lock::PiFutex);

    // By hand, without the handlers.
    static HEAP: Heap<SpinLock> = StaticHeap::new();
    HEAP.acquire_for_fork();
    // SAFETY: the child uses the heap alone.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: the child has this one thread, whose original acquired the lock.
        unsafe { HEAP.release_in_child() };
        use_heap(&HEAP, 50);
        // SAFETY: ends the process.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: acquired above.
    unsafe { HEAP.release_after_fork() };
    use_heap(&HEAP, 50);
    assert!(ends_well(child));
}

/// Without handlers a lock that another thread held at the fork is never released in the child. A
/// priority-inheritance futex says so, instead of waiting for ever.
#[cfg(all(feature = "pi-futex", target_os = "linux"))]
#[test]
fn a_futex_that_stayed_with_the_parent_is_named() {
    use evenfit::lock::PiFutex;
    static LOCK: PiFutex = PiFutex::UNLOCKED;
    static HELD: AtomicBool = AtomicBool::new(false);
    static OVER: AtomicBool = AtomicBool::new(false);
    let holder = std::thread::spawn(|| {
        LOCK.with(|| {
            HELD.store(true, Ordering::SeqCst);
            while !OVER.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    });
    while !HELD.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    let mut ends = [0; 2];
    // SAFETY: the array has room for two; the child only writes a message and ends.
    let child = unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        let child = libc::fork();
        if child == 0 {
            libc::dup2(ends[1], 2);
            LOCK.with(|| ());
            libc::_exit(0);
        }
        libc::close(ends[1]);
        child
    };
    assert!(!ends_well(child), "it was stopped");
    OVER.store(true, Ordering::SeqCst);
    holder.join().expect("it ends");
    let mut said = [0_u8; 256];
    // SAFETY: the buffer has this length.
    let read = unsafe { libc::read(ends[0], said.as_mut_ptr().cast(), said.len()) };
    let said = String::from_utf8_lossy(&said[..usize::try_from(read).expect("it was read")]);
    assert!(said.contains("stayed in the parent of a fork"), "{said}");
}
