//! Stepping one call.

use std::arch::asm;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Range;

use crate::stepping::handler::Installed;
use crate::stepping::trace::Trace;

/// Instructions of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count {
    /// In this program, everything linked into it included.
    pub own: u64,
    /// In shared libraries: `memcpy` moving a payload, or the C library's `malloc`. Each turn of a
    /// `rep` counts.
    pub library: u64,
}

impl Count {
    /// Both together.
    #[must_use]
    pub fn total(self) -> u64 {
        self.own + self.library
    }
}

/// Counts calls, one at a time. Only one exists at once: [`Stepper::new`] waits until another is
/// dropped.
pub struct Stepper {
    installed: Installed,
}

/// Instructions that are stepped beside the call's own: one `call`, its `ret`, and three to clear
/// the trap flag.
const OVERHEAD: u64 = 5;

/// Steps that a [`Trace`] can hold; the longest bounded operation is far below.
const TRACE_STEPS_MAX: usize = 1 << 17;

unsafe extern "C" {
    // The linker's names of the ends of the program's code.
    static __executable_start: u8;
    static etext: u8;
}

/// Where the program's file begins in memory.
pub(crate) fn program_start() -> usize {
    &raw const __executable_start as usize
}

/// Where the program's code lies, from the beginning of its file on.
pub(crate) fn program_text() -> Range<usize> {
    program_start()..&raw const etext as usize
}

impl Stepper {
    /// Takes over `SIGTRAP` until it is dropped.
    #[must_use]
    pub fn new() -> Self {
        let mut installed = Installed::new();
        let text = program_text();
        installed.steps().text = (text.start, text.end);
        Self { installed }
    }

    /// Calls `call` and counts what it executes, the moving of its arguments and of its result
    /// included.
    ///
    /// For the cost of one function, let `call` call it and nothing else; built with optimisation,
    /// the figure is the function's own plus one or two moves. `call` must not panic: the process
    /// would abort.
    ///
    /// # Panics
    /// When the trap flag has no effect, as under some emulators.
    pub fn count<R>(&mut self, call: impl FnOnce() -> R) -> (R, Count) {
        let steps = self.installed.steps();
        (steps.own, steps.library) = (0, 0);
        let result = step(call);
        let steps = self.installed.steps();
        let own = steps.own.checked_sub(OVERHEAD);
        let count =
            Count { own: own.expect("the trap flag has an effect"), library: steps.library };
        (result, count)
    }

    /// As [`Stepper::count`], and keeps what was executed, for its cache lines and loops.
    ///
    /// # Panics
    /// When the call takes more than 131,072 instructions.
    pub fn trace<R>(&mut self, call: impl FnOnce() -> R) -> (R, Trace) {
        let steps = self.installed.steps();
        steps.snapshots = Vec::with_capacity(TRACE_STEPS_MAX);
        steps.overflowed = false;
        let (result, count) = self.count(call);
        let steps = self.installed.steps();
        let snapshots = std::mem::take(&mut steps.snapshots);
        assert!(
            !steps.overflowed,
            "a call of {} instructions is too long for a trace",
            count.total()
        );
        let (start, end) = steps.text;
        (result, Trace::new(count, &snapshots, start..end))
    }
}

impl Default for Stepper {
    fn default() -> Self {
        Self::new()
    }
}

/// The call and room for its result, so that one pointer suffices for both.
pub(crate) struct Job<F, R> {
    pub(crate) call: ManuallyDrop<F>,
    pub(crate) result: MaybeUninit<R>,
}

/// What is stepped. `extern "C"`: a panic aborts rather than unwinds through `asm!`. Never inlined,
/// so that it is the same function in all counts.
#[inline(never)]
pub(crate) extern "C" fn run<F: FnOnce() -> R, R>(job: *mut Job<F, R>) {
    // SAFETY: called once with a job that nobody else holds: the call is taken out of it once.
    unsafe {
        let call = ManuallyDrop::take(&mut (*job).call);
        (*job).result.write(call());
    }
}

/// Runs `call` with the trap flag set.
fn step<F: FnOnce() -> R, R>(call: F) -> R {
    let mut job = Job { call: ManuallyDrop::new(call), result: MaybeUninit::uninit() };
    // SAFETY: the flags are pushed, changed and popped again, the stack is balanced and aligned at
    // the call, which may clobber what the C convention lets it; SIGTRAP has its handler as long as
    // the `Stepper` that called lives.
    unsafe {
        asm!(
            "pushfq",
            "or qword ptr [rsp], 0x100",
            "popfq",
            "call {run}",
            "pushfq",
            "and qword ptr [rsp], -0x101",
            "popfq",
            run = in(reg) run::<F, R> as extern "C" fn(*mut Job<F, R>),
            inout("rdi") &raw mut job => _,
            clobber_abi("C"),
        );
        job.result.assume_init()
    }
}
