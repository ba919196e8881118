//! Writes without allocating, and only to the file that was standard error when the program began.

use core::fmt;
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

/// A text of at most 1,024 bytes; the rest is cut off.
pub struct Line {
    bytes: [u8; 1024],
    len: usize,
}

impl Line {
    pub const fn new() -> Self {
        Self { bytes: [0; 1024], len: 0 }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Writes it to standard error in one call, so that lines of several processes don't mix. The
    /// program has asked for it.
    pub fn write(&self) -> isize {
        // SAFETY: the buffer is live and `len` of its bytes are written.
        unsafe { libc::write(2, self.bytes.as_ptr().cast(), self.len) }
    }

    /// Writes it to standard error, if descriptor 2 still is what it was at load: the program may
    /// have closed it and opened a file of its own there. No signal reaches the program for it.
    pub fn write_to_stderr(&self) {
        if STDERR.is_the_same() {
            without_signals(|| self.write());
        }
    }
}

/// What descriptor 2 was at load.
pub struct Stderr {
    device: AtomicU64,
    inode: AtomicU64,
}

pub static STDERR: Stderr = Stderr { device: AtomicU64::new(0), inode: AtomicU64::new(0) };

impl Stderr {
    pub fn remember(&self) {
        if let Some((device, inode)) = Self::now() {
            self.device.store(device, Ordering::Relaxed);
            self.inode.store(inode, Ordering::Relaxed);
        }
    }

    fn is_the_same(&self) -> bool {
        let then = (self.device.load(Ordering::Relaxed), self.inode.load(Ordering::Relaxed));
        Self::now() == Some(then)
    }

    fn now() -> Option<(u64, u64)> {
        let mut found = MaybeUninit::<libc::stat>::uninit();
        // The system call itself: others wrap the function.
        #[cfg(target_pointer_width = "64")]
        // SAFETY: the name is a C string, and the answer is written to `found`.
        let answer = unsafe {
            let (name, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
            libc::syscall(libc::SYS_newfstatat, 2, name, found.as_mut_ptr(), flags)
        };
        #[cfg(not(target_pointer_width = "64"))]
        // SAFETY: the answer is written to `found`.
        let answer = unsafe { libc::fstat(2, found.as_mut_ptr()) };
        // SAFETY: written, where there is an answer.
        let found = (answer == 0).then(|| unsafe { found.assume_init() })?;
        Some((found.st_dev as u64, found.st_ino as u64))
    }
}

/// Writes with the signals blocked that a write may raise, and removes one that it raised.
fn without_signals(write: impl FnOnce() -> isize) {
    let mut signals = MaybeUninit::<libc::sigset_t>::uninit();
    let (mut before, mut pending) = (signals, signals);
    // SAFETY: each set is written before it is read, and the thread's mask is restored.
    unsafe {
        libc::sigemptyset(signals.as_mut_ptr());
        for signal in [libc::SIGPIPE, libc::SIGXFSZ, libc::SIGTTOU] {
            libc::sigaddset(signals.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, signals.as_ptr(), before.as_mut_ptr());
        if write() < 0 {
            let signal = match *libc::__errno_location() {
                libc::EPIPE => libc::SIGPIPE,
                libc::EFBIG => libc::SIGXFSZ,
                _ => 0,
            };
            libc::sigpending(pending.as_mut_ptr());
            if signal != 0 && libc::sigismember(pending.as_ptr(), signal) == 1 {
                libc::sigemptyset(signals.as_mut_ptr());
                libc::sigaddset(signals.as_mut_ptr(), signal);
                let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
                libc::sigtimedwait(signals.as_ptr(), ptr::null_mut(), &now);
            }
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut());
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        let len = text.len().min(room.len());
        room[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.len += len;
        Ok(())
    }
}

/// Formats a line of at most 1,024 bytes.
macro_rules! line {
    ($($part:tt)*) => {{
        let mut line = $crate::out::Line::new();
        let _ = core::fmt::Write::write_fmt(&mut line, format_args!($($part)*));
        line
    }};
}
pub(crate) use line;

/// Ends the program at once, because of a setting in the environment that can't be met.
macro_rules! refuse_to_start {
    ($($part:tt)*) => {{
        $crate::out::line!("evenfit: {}\n", format_args!($($part)*)).write_to_stderr();
        $crate::process::leave(2)
    }};
}
pub(crate) use refuse_to_start;
