//! The misuse hook: what a program does when a pointer is refused.

use crate::FreeError;
use crate::sync::{AtomicPtr, Ordering};
use core::alloc::Layout;
use core::fmt;
use core::ptr::{self, NonNull};

/// A refused pointer, as the misuse hook gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Misuse {
    /// Why the pointer was refused.
    pub error: FreeError,
    /// The pointer that was passed.
    pub ptr: NonNull<u8>,
    /// The layout that was passed, if the call has one.
    pub layout: Option<Layout>,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused to free {:p}: {}", self.ptr, self.error)?;
        if let Some(layout) = self.layout {
            write!(f, " (passed with size {} and alignment {})", layout.size(), layout.align())?;
        }
        Ok(())
    }
}

/// Called with every pointer that a `deallocate` refused. If the hook returns, the call has had no
/// effect.
pub type MisuseHook = fn(&Misuse);

/// Null as long as no hook is set. So the static is zero and needs no space in `.data`.
#[cfg(not(loom))]
static MISUSE_HOOK: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

#[cfg(loom)]
loom::lazy_static! {
    static ref MISUSE_HOOK: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
}

/// Sets what happens on misuse, for all heaps of the program. Without a hook the program is aborted
/// by an undefined instruction. This needs no operating system and doesn't unwind out of an
/// allocator. On Linux (x86-64 and 64-bit Arm), and anywhere with feature `std`, a line on standard
/// error names the misuse, the address and the layout before.
///
/// If the hook returns, the program goes on and the heap is unchanged. It runs outside the locks of
/// shared heaps, and must not panic where the heap is the global allocator.
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
pub(crate) fn report(error: FreeError, ptr: NonNull<u8>, layout: Option<Layout>) {
    let misuse = Misuse { error, ptr, layout };
    let raw = MISUSE_HOOK.load(Ordering::Acquire);
    if raw.is_null() {
        print(&misuse);
        abort();
    }
    // SAFETY: `set_misuse_hook` is the only writer, and stores null or a `MisuseHook`.
    let hook: MisuseHook = unsafe { core::mem::transmute(raw) };
    hook(&misuse);
}

/// Writes the line that says why the program ends, where something is known to write to.
#[cfg(feature = "std")]
fn print(misuse: &Misuse) {
    extern crate std;
    use std::io::Write;
    // Standard error isn't buffered, so this allocates nothing.
    let _ = writeln!(std::io::stderr(), "evenfit: {misuse}");
}

/// Writes the line that says why the program ends, by a system call of its own: a program without
/// the standard library may have no C library either.
#[cfg(all(
    not(feature = "std"),
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
fn print(misuse: &Misuse) {
    use fmt::Write;

    /// Longer than any of these lines.
    struct Line {
        bytes: [u8; 256],
        len: usize,
    }
    impl Write for Line {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for (to, from) in self.bytes.iter_mut().skip(self.len).zip(text.bytes()) {
                *to = from;
                self.len += 1;
            }
            Ok(())
        }
    }
    const STDERR: usize = 2;
    let mut line = Line { bytes: [0; 256], len: 0 };
    let _ = writeln!(line, "evenfit: {misuse}");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: system call 1 is write(fd, bytes, len). It reads the line, which lives, and changes
    // these registers only.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") 1_usize => _,
            in("rdi") STDERR,
            in("rsi") line.bytes.as_ptr(),
            in("rdx") line.len,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack, readonly),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; it has number 64 here.
    unsafe {
        core::arch::asm!(
            "svc #0",
            in("x8") 64_usize,
            inlateout("x0") STDERR => _,
            in("x1") line.bytes.as_ptr(),
            in("x2") line.len,
            options(nostack, readonly),
        );
    }
}

/// There is nothing to write to.
#[cfg(not(any(
    feature = "std",
    all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))
)))]
fn print(_: &Misuse) {}

/// Ends the program without unwinding, as far as `core` alone can: by an undefined instruction
/// where one is known, else by an endless loop, which a watchdog can end.
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
