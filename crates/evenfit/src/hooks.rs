//! What a program may do when memory runs out, and when a pointer is refused.

use crate::FreeError;
use crate::sync::{AtomicPtr, Ordering};
use core::alloc::Layout;
use core::fmt;
use core::ptr::{self, NonNull};

/// A refused pointer, as the misuse hook is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Misuse {
    /// Why the pointer was refused.
    pub error: FreeError,
    /// The pointer that was handed in.
    pub ptr: NonNull<u8>,
    /// The layout that came with it, where the call carried one.
    pub layout: Option<Layout>,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused to free {:p}: {}", self.ptr, self.error)?;
        if let Some(layout) = self.layout {
            write!(
                f,
                " (handed in with size {} and alignment {})",
                layout.size(),
                layout.align()
            )?;
        }
        Ok(())
    }
}

/// Told of every pointer that a `deallocate` refused. If it returns, the call has had no effect.
pub type MisuseHook = fn(&Misuse);

/// Null while the default stands, so the static needs no room in `.data`.
#[cfg(not(loom))]
static MISUSE_HOOK: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

#[cfg(loom)]
loom::lazy_static! {
    static ref MISUSE_HOOK: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
}

/// Replaces what happens on misuse, for all heaps of the program. Without a hook the program is aborted by an
/// undefined instruction: the one end that needs no operating system and can't unwind out of an allocator.
///
/// A hook that returns keeps the program alive; the refused block then stays as it was. It must not use the
/// heap it is told about, and must not panic where that heap is the global allocator.
///
/// # Example
/// ```
/// evenfit::set_misuse_hook(|misuse| eprintln!("{misuse}"));
/// ```
pub fn set_misuse_hook(hook: MisuseHook) {
    MISUSE_HOOK.store(hook as *mut (), Ordering::Release);
}

/// Reports a refused pointer to the hook.
#[cold]
#[inline(never)]
pub(crate) fn misuse(error: FreeError, ptr: NonNull<u8>, layout: Option<Layout>) {
    let misuse = Misuse { error, ptr, layout };
    let raw = MISUSE_HOOK.load(Ordering::Acquire);
    if raw.is_null() {
        abort();
    }
    // SAFETY: `set_misuse_hook` is the only writer, and stores null or a `MisuseHook`.
    let hook: MisuseHook = unsafe { core::mem::transmute(raw) };
    hook(&misuse);
}

/// Ends the program without unwinding, as far as `core` alone can: an undefined instruction where one is known,
/// else an endless loop, which a watchdog ends.
fn abort() -> ! {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    // SAFETY: ud2 raises an invalid-opcode exception and never returns.
    unsafe {
        core::arch::asm!("ud2", options(noreturn, nomem, nostack))
    }
    #[cfg(any(target_arch = "arm", target_arch = "aarch64"))]
    // SAFETY: udf raises an undefined-instruction exception and never returns.
    unsafe {
        core::arch::asm!("udf #0", options(noreturn, nomem, nostack))
    }
    #[cfg(any(target_arch = "riscv32", target_arch = "riscv64"))]
    // SAFETY: unimp raises an illegal-instruction exception and never returns.
    unsafe {
        core::arch::asm!("unimp", options(noreturn, nomem, nostack))
    }
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[allow(unreachable_code)]
    loop {
        core::hint::spin_loop();
    }
}

/// A request that found no free block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutOfMemory {
    /// What was asked for.
    pub layout: Layout,
    /// How often this same request has been retried: 0 the first time the hook sees it.
    pub retries: u32,
}

/// What to do with a request that found no free block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Something was freed: try once more.
    Retry,
    /// Let the request fail.
    Fail,
}

/// Asked when a request found no free block. It runs outside the lock, so it may free blocks of the
/// same heap; a request it makes itself must be one that may fail, since it would ask the hook again.
pub type OutOfMemoryHook = fn(&OutOfMemory) -> WhenFull;

/// Where a heap keeps its out-of-memory hook; null while there is none.
pub struct OutOfMemoryCell(AtomicPtr<()>);

impl OutOfMemoryCell {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    pub(crate) fn set(&self, hook: Option<OutOfMemoryHook>) {
        let raw = hook.map_or(ptr::null_mut(), |hook| hook as *mut ());
        self.0.store(raw, Ordering::Release);
    }

    /// Asks the hook whether a failed request shall be tried again.
    #[cold]
    pub(crate) fn ask(&self, layout: Layout, retries: u32) -> WhenFull {
        let raw = self.0.load(Ordering::Acquire);
        if raw.is_null() {
            return WhenFull::Fail;
        }
        // SAFETY: `set` is the only writer, and stores null or an `OutOfMemoryHook`.
        let hook: OutOfMemoryHook = unsafe { core::mem::transmute(raw) };
        hook(&OutOfMemory { layout, retries })
    }
}
