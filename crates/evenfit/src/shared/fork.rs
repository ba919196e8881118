//! Fork handlers: the child of a fork finds no heap in the midst of another thread's operation.
//!
//! The heaps that were registered form a list that only grows, at its head. Before a fork every
//! lock of the list is acquired, in the order of the list. No operation holds two of these locks,
//! and two threads that fork at once share the end of the list, so they can't wait for each other.

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use super::lock::Lock;
use super::sealed::HeapAccess;
use crate::AllocError;

/// What a heap stores about its registration. All zero as long as it has none.
pub struct Registration {
    is_registered: AtomicBool,
    /// Written before the registration is on the list, and never again.
    heap: Cell<*const ()>,
    handler: Cell<Option<Handler>>,
    next: Cell<*const Registration>,
}

// SAFETY: the cells are written by the one thread that set `is_registered`, before others can reach
// them through the list.
unsafe impl Sync for Registration {}
// SAFETY: a heap that is registered is a static, and isn't moved.
unsafe impl Send for Registration {}

#[derive(Clone, Copy)]
enum Step {
    BeforeFork,
    InParent,
    InChild,
}

/// A step of a heap whose type the list doesn't know.
type Handler = unsafe fn(heap: *const (), step: Step);

/// # Safety
/// `heap` is a static of type `H`. Its lock is free before the fork, and acquired by this thread
/// after it.
unsafe fn handle<H: HeapAccess>(heap: *const (), step: Step) {
    // SAFETY: as promised by the caller.
    unsafe {
        let heap = &*heap.cast::<H>();
        match step {
            Step::BeforeFork => heap.lock().acquire(),
            Step::InParent => heap.lock().release(),
            Step::InChild => Lock::release_in_child(heap.lock_cell().get()),
        }
    }
}

/// The list of all registrations, the newest first.
static REGISTERED: AtomicPtr<Registration> = AtomicPtr::new(ptr::null_mut());
/// The part of the list whose locks the thread that forks has acquired.
static HELD: AtomicPtr<Registration> = AtomicPtr::new(ptr::null_mut());

impl Registration {
    pub(super) const fn none() -> Self {
        Self {
            is_registered: AtomicBool::new(false),
            heap: Cell::new(ptr::null()),
            handler: Cell::new(None),
            next: Cell::new(ptr::null()),
        }
    }
}

/// Puts a heap on the list, once.
pub(super) fn register<H: HeapAccess>(heap: &'static H) -> Result<(), AllocError> {
    static IS_HANDLED: AtomicBool = AtomicBool::new(false);
    if !IS_HANDLED.swap(true, Ordering::Relaxed) {
        // SAFETY: the handlers are functions of this program.
        let error =
            unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(in_child)) };
        if error != 0 {
            IS_HANDLED.store(false, Ordering::Relaxed);
            return Err(AllocError::OutOfMemory);
        }
    }
    let registration = heap.fork_registration();
    if registration.is_registered.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    registration.heap.set(ptr::from_ref(heap).cast());
    registration.handler.set(Some(handle::<H>));
    let mut head = REGISTERED.load(Ordering::Relaxed);
    loop {
        registration.next.set(head);
        match REGISTERED.compare_exchange_weak(
            head,
            ptr::from_ref(registration).cast_mut(),
            Ordering::Release,
            Ordering::Relaxed,
        ) {
            Ok(_) => return Ok(()),
            Err(newer) => head = newer,
        }
    }
}

/// # Safety
/// The locks from this registration on are free before the fork, and acquired by this thread after
/// it.
unsafe fn step_all(mut registration: *const Registration, step: Step) {
    // SAFETY: what is on the list is part of a static, and was complete when it was put there. The
    // rest is promised by the caller.
    unsafe {
        while let Some(registered) = registration.as_ref() {
            if let Some(handler) = registered.handler.get() {
                handler(registered.heap.get(), step);
            }
            registration = registered.next.get();
        }
    }
}

extern "C" fn before_fork() {
    let all = REGISTERED.load(Ordering::Acquire);
    // SAFETY: this thread is inside no heap, as `register_fork_handlers` asks.
    unsafe { step_all(all, Step::BeforeFork) };
    // Another thread that forks waits for these locks: nobody else writes this until they are
    // released.
    HELD.store(all, Ordering::Relaxed);
}

extern "C" fn after_fork() {
    // SAFETY: `before_fork` acquired these locks on this thread.
    unsafe { step_all(HELD.load(Ordering::Relaxed), Step::InParent) };
}

extern "C" fn in_child() {
    // SAFETY: `before_fork` acquired these locks on the thread whose copy this is.
    unsafe { step_all(HELD.load(Ordering::Relaxed), Step::InChild) };
}
