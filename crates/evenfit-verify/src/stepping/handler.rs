//! The signal handler: counts a step, and stores the registers if they are wanted.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard};

/// The registers before an instruction is executed.
#[derive(Clone, Copy)]
pub(crate) struct Snapshot {
    /// In the order of Linux's `gregs`.
    pub registers: [i64; 23],
}

/// The handler's counters. One for the process, since a process has one handler for a signal.
pub(crate) struct Steps {
    /// Steps inside of this program.
    pub own: u64,
    /// Steps inside of shared libraries.
    pub library: u64,
    /// Where the program's own code lies.
    pub text: (usize, usize),
    /// The registers of each step, as long as there is room.
    pub snapshots: Vec<Snapshot>,
    /// Whether there was no room for the registers of a step.
    pub overflowed: bool,
}

struct Shared(UnsafeCell<Steps>);

// SAFETY: accessed only by the thread that has `LOCK`, and by the handler while that thread is
// stepped.
unsafe impl Sync for Shared {}

static STEPS: Shared = Shared(UnsafeCell::new(Steps {
    own: 0,
    library: 0,
    text: (0, 0),
    snapshots: Vec::new(),
    overflowed: false,
}));

static LOCK: Mutex<()> = Mutex::new(());

/// Exclusive use of the handler; the former handler is restored on drop.
pub(crate) struct Installed {
    former: libc::sigaction,
    _lock: MutexGuard<'static, ()>,
}

impl Installed {
    pub fn new() -> Self {
        // If another thread panicked with the lock, nothing is broken: counts are reset before use.
        let lock = LOCK.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // SAFETY: `sigaction` structures are plain data for which zero is valid; the handler has
        // the signature that SA_SIGINFO asks for and does nothing that a signal handler may not do.
        let former = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_step as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            let mut former = std::mem::zeroed();
            let done = libc::sigaction(libc::SIGTRAP, &action, &mut former);
            assert_eq!(done, 0, "a handler for SIGTRAP can always be set");
            former
        };
        Self { former, _lock: lock }
    }

    /// The counts; exclusive, because `self` is.
    pub fn steps(&mut self) -> &mut Steps {
        // SAFETY: the lock is held, and nothing is being stepped while this borrow lives.
        unsafe { &mut *STEPS.0.get() }
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        // SAFETY: what `sigaction` itself returned.
        unsafe { libc::sigaction(libc::SIGTRAP, &self.former, std::ptr::null_mut()) };
    }
}

/// Runs with the trap flag cleared by the kernel; must not allocate, since what is stepped may be
/// `malloc`.
extern "C" fn on_step(_: i32, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a context; the stepped thread holds the lock and is suspended here.
    unsafe {
        let registers = (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let steps = &mut *STEPS.0.get();
        let at = registers[libc::REG_RIP as usize] as usize;
        if (steps.text.0..steps.text.1).contains(&at) {
            steps.own += 1;
        } else {
            steps.library += 1;
        }
        if steps.snapshots.len() < steps.snapshots.capacity() {
            steps.snapshots.push(Snapshot { registers });
        } else {
            steps.overflowed = true;
        }
    }
}
