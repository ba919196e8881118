//! Every lock lets one caller in at a time.

use std::alloc::Layout;
use std::mem::MaybeUninit;

use evenfit::{Lock, LockedHeap, SpinLock};

/// Four threads allocate, write, check and free; any overlap of two callers breaks a block or a
/// count.
fn hammer<L: Lock>() {
    let mut region = vec![MaybeUninit::uninit(); 1 << 18];
    let heap: LockedHeap<'_, L> = LockedHeap::from_region(&mut region).expect("a pool");
    std::thread::scope(|threads| {
        for seed in 1..=4_usize {
            let heap = &heap;
            threads.spawn(move || {
                for round in 0..400 {
                    let sizes = (0..8).map(|i| 1 + (seed * 131 + round * 17 + i * 7) % 700);
                    let blocks: Vec<_> =
                        sizes.map(|size| stamped(heap, size, seed as u8)).collect();
                    for (block, layout) in blocks {
                        // SAFETY: a live block of `stamped`, all of whose bytes were written, freed
                        // once.
                        unsafe {
                            let bytes = std::slice::from_raw_parts(block.as_ptr(), layout.size());
                            assert!(bytes.iter().all(|&byte| byte == seed as u8));
                            heap.deallocate(block, layout);
                        }
                    }
                }
            });
        }
    });
    assert_eq!(heap.stats().live_blocks, 0);
    assert_eq!(heap.stats().used_bytes, 0);
    assert_eq!(heap.check(), Ok(()));
}

fn stamped<L: Lock>(
    heap: &LockedHeap<'_, L>,
    size: usize,
    stamp: u8,
) -> (std::ptr::NonNull<u8>, Layout) {
    let layout = Layout::from_size_align(size, 8).expect("a valid layout");
    let block = heap.allocate(layout).expect("the pool has room").cast::<u8>();
    // SAFETY: new, and as long as the slice says.
    unsafe { block.write_bytes(stamp, size) };
    (block, layout)
}

#[test]
fn spin_lock() {
    hammer::<SpinLock>();
}

#[cfg(feature = "lock_api")]
#[test]
fn locks_of_lock_api() {
    hammer::<spin::Mutex<()>>();
    hammer::<parking_lot::RawMutex>();
}

#[cfg(feature = "critical-section")]
#[test]
fn critical_section() {
    hammer::<evenfit::lock::CriticalSection>();
}

#[cfg(feature = "critical-section")]
#[test]
#[should_panic(expected = "used while it was being inspected")]
fn a_nested_critical_section_is_refused() {
    use evenfit::lock::CriticalSection;
    static HEAP: evenfit::StaticHeap<4_096, CriticalSection> = evenfit::StaticHeap::new();
    HEAP.inspect(|_| HEAP.stats());
}

#[cfg(all(feature = "pi-futex", target_os = "linux"))]
mod pi_futex {
    use std::io::Write as _;
    use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
    use std::time::Duration;

    use evenfit::Lock;
    use evenfit::lock::PiFutex;

    #[test]
    fn excludes() {
        super::hammer::<PiFutex>();
    }

    /// The kernel's own number for a thread's priority: below 0 under a real-time policy.
    fn priority(thread_id: i32) -> i64 {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{thread_id}/stat"))
            .expect("the thread lives");
        let after_name = stat.rsplit(") ").next().expect("a name in parentheses");
        after_name
            .split(' ')
            .nth(15)
            .and_then(|field| field.parse().ok())
            .expect("field 18 is the priority")
    }

    /// Makes this thread a real-time thread; false where that is not allowed.
    fn become_real_time() -> bool {
        let param = libc::sched_param { sched_priority: 10 };
        // SAFETY: 0 is this thread; the parameter lives.
        unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &param) == 0 }
    }

    #[test]
    fn the_holder_inherits_the_waiters_priority() {
        static LOCK: PiFutex = PiFutex::UNLOCKED;
        static HOLDER: AtomicI32 = AtomicI32::new(0);
        static WAITING: AtomicBool = AtomicBool::new(false);
        static ALLOWED: AtomicBool = AtomicBool::new(true);
        let holder = std::thread::spawn(|| {
            LOCK.with(|| {
                // SAFETY: the call takes no argument and can't fail.
                let id = unsafe { libc::gettid() };
                let before = priority(id);
                HOLDER.store(id, Ordering::SeqCst);
                while !WAITING.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                // The waiter is about to enter the kernel: look until it has, for at most 5 s.
                let lent = (0..5_000).find_map(|_| {
                    std::thread::sleep(Duration::from_millis(1));
                    (priority(id) != before).then(|| priority(id))
                });
                (before, lent)
            })
        });
        let waiter = std::thread::spawn(|| {
            while HOLDER.load(Ordering::SeqCst) == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            ALLOWED.store(become_real_time(), Ordering::SeqCst);
            WAITING.store(true, Ordering::SeqCst);
            if ALLOWED.load(Ordering::SeqCst) {
                LOCK.with(|| {});
            }
        });
        let (before, lent) = holder.join().expect("the holder ran to its end");
        waiter.join().expect("the waiter got the lock");
        if !ALLOWED.load(Ordering::SeqCst) {
            // Not by `eprintln!`, whose output is only shown of tests that fail.
            let _ =
                writeln!(std::io::stderr(), "skipped: real-time scheduling is not allowed here");
            return;
        }
        assert!(before >= 0, "the holder began as an ordinary thread");
        assert_eq!(lent, Some(-11), "SCHED_FIFO 10 reads as -11");
    }
}
