//! The kernel's side of a priority-inheritance futex, for the model checker. It does what futex(2)
//! promises of `FUTEX_LOCK_PI` and `FUTEX_UNLOCK_PI`, under one lock as the kernel does. All
//! waiters have one priority, so they are served in order.

extern crate std;

use std::vec::Vec;

use loom::sync::{Condvar, Mutex};

use crate::sync::{AtomicU32, Ordering};

/// Address and waiting thread, for each thread that waits.
#[derive(Default)]
struct Waiters(Vec<(usize, u32)>);

struct Kernel {
    waiters: Mutex<Waiters>,
    served: Condvar,
    thread_ids: std::sync::atomic::AtomicU32,
}

loom::lazy_static! {
    static ref KERNEL: Kernel = Kernel {
        waiters: Mutex::new(Waiters::default()),
        served: Condvar::new(),
        thread_ids: std::sync::atomic::AtomicU32::new(100),
    };
}

loom::thread_local! {
    static THREAD_ID: u32 = KERNEL.thread_ids.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn current_thread_id() -> u32 {
    THREAD_ID.with(|&id| id)
}

/// No process of the model forks.
pub(super) fn is_thread_of_this_process(_thread_id: u32) -> bool {
    true
}

pub(super) fn stop(reason: &str) -> ! {
    panic!("{reason}");
}

pub(super) fn futex(word: &AtomicU32, operation: libc::c_int) -> libc::c_int {
    let this_thread = current_thread_id();
    let address = core::ptr::from_ref(word).addr();
    match operation {
        libc::FUTEX_LOCK_PI => lock(word, address, this_thread),
        libc::FUTEX_UNLOCK_PI => unlock(word, address, this_thread),
        _ => libc::ENOSYS,
    }
}

fn lock(word: &AtomicU32, address: usize, this_thread: u32) -> libc::c_int {
    let mut waiters = KERNEL.waiters.lock().expect("no thread panics in the kernel");
    let seen = word.load(Ordering::SeqCst);
    if seen & libc::FUTEX_TID_MASK == this_thread {
        return libc::EDEADLK;
    }
    let wanted = match seen {
        0 => this_thread,
        _ => seen | libc::FUTEX_WAITERS,
    };
    let changed = word.compare_exchange(seen, wanted, Ordering::SeqCst, Ordering::SeqCst);
    if changed.is_err() {
        return libc::EAGAIN;
    }
    if seen == 0 {
        return 0;
    }
    let waiter = (address, this_thread);
    waiters.0.push(waiter);
    while waiters.0.contains(&waiter) {
        waiters = KERNEL.served.wait(waiters).expect("no thread panics in the kernel");
    }
    0
}

fn unlock(word: &AtomicU32, address: usize, this_thread: u32) -> libc::c_int {
    let mut waiters = KERNEL.waiters.lock().expect("no thread panics in the kernel");
    if word.load(Ordering::SeqCst) & libc::FUTEX_TID_MASK != this_thread {
        return libc::EPERM;
    }
    let first = waiters.0.iter().position(|&(of, _)| of == address);
    let Some(first) = first else {
        word.store(0, Ordering::SeqCst);
        return 0;
    };
    let (_, next) = waiters.0.remove(first);
    let more = waiters.0.iter().any(|&(of, _)| of == address);
    word.store(if more { next | libc::FUTEX_WAITERS } else { next }, Ordering::SeqCst);
    KERNEL.served.notify_all();
    0
}
