//! The machine that runs the emulator, reached over semihosting.

use core::ffi::c_char;

use cortex_m_semihosting::{debug, nr, syscall};

/// Ends the emulator: 0 for yes, 1 for no.
pub fn exit(is_good: bool) -> ! {
    debug::exit(if is_good { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    loop {
        cortex_m::asm::wfi();
    }
}

/// The command line, as `-semihosting-config arg=...` gives it: the program's name, then its
/// arguments.
#[allow(
    clippy::unnecessary_mut_passed,
    reason = "the debugger writes to it, whatever the signature says"
)]
pub fn command_line(buffer: &mut [u8; 256]) -> &str {
    let mut request = [buffer.as_mut_ptr() as usize, buffer.len()];
    // SAFETY: the debugger writes at most `buffer.len()` bytes to the buffer, and their number to
    // the request.
    let failed = unsafe { cortex_m_semihosting::syscall(nr::GET_CMDLINE, &mut request) };
    if failed != 0 {
        return "";
    }
    core::str::from_utf8(&buffer[..request[1].min(buffer.len())]).unwrap_or("")
}

/// A file on the host, opened for writing; an older one is replaced.
pub struct File {
    handle: usize,
    failed: bool,
}

impl File {
    const WRITE_BINARY: usize = 5;
    const NAME_BYTES_MAX: usize = 255;

    /// `None` if the host can't create it or the name is too long.
    pub fn create(name: &str) -> Option<Self> {
        let mut c_name = [0 as c_char; Self::NAME_BYTES_MAX + 1];
        if name.len() > Self::NAME_BYTES_MAX {
            return None;
        }
        for (to, from) in c_name.iter_mut().zip(name.bytes()) {
            *to = from as c_char;
        }
        // SAFETY: the name ends in a zero byte, and the debugger only reads it.
        let handle = unsafe { syscall!(OPEN, c_name.as_ptr(), Self::WRITE_BINARY, name.len()) };
        (handle != usize::MAX).then_some(Self { handle, failed: false })
    }

    /// Writes all of `bytes`, or remembers that it could not.
    pub fn write(&mut self, bytes: &[u8]) {
        // SAFETY: the debugger only reads the bytes.
        let missing = unsafe { syscall!(WRITE, self.handle, bytes.as_ptr(), bytes.len()) };
        self.failed |= missing != 0;
    }

    /// Whether everything was written.
    pub fn close(self) -> bool {
        // SAFETY: the handle is open, and not used again.
        let failed = unsafe { syscall!(CLOSE, self.handle) };
        failed == 0 && !self.failed
    }
}
