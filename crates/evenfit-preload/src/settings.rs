//! The settings in the environment.
//!
//! The first allocation may come before the C library knows its environment; it is then read from
//! `/proc`.

use core::ffi::{CStr, c_char};

use crate::out::refuse_to_start;

unsafe extern "C" {
    static environ: *const *const c_char;
}

pub const DEFAULT_POOL_BYTES: usize = 512 << 20;

/// Where the summary goes.
#[derive(Clone, Copy)]
pub enum Summary {
    /// To file descriptor 2, for people.
    Stderr,
    Nowhere,
}

pub struct Settings {
    /// Whether the program is recorded.
    pub records: bool,
    pub pool_bytes: usize,
    pub lock_memory: bool,
    pub ignore_misuse: bool,
    /// Whether any process of the same user may look at the pool.
    pub is_open: bool,
    /// Where the summary goes without a command.
    pub summary: Summary,
    /// The file to share with the command, null-terminated; empty if there is no command.
    pub session: [u8; SESSION_NAME_BYTES],
}

/// `/proc/4194304/fd/1000000`, with its end.
const SESSION_NAME_BYTES: usize = 32;
/// The longest entry of the environment that is looked at.
const ENTRY_BYTES_MAX: usize = 4096;

impl Settings {
    pub const DEFAULT: Self = Self {
        records: false,
        pool_bytes: DEFAULT_POOL_BYTES,
        lock_memory: false,
        ignore_misuse: false,
        is_open: false,
        summary: Summary::Stderr,
        session: [0; SESSION_NAME_BYTES],
    };

    /// Reads the environment. An invalid value ends the program with a message that names it.
    pub fn read(&mut self) {
        // SAFETY: the C library's, null before it is set up; then a null-terminated list of C
        // strings.
        let entries = unsafe { environ };
        if entries.is_null() {
            self.read_from_proc();
            return;
        }
        for index in 0.. {
            // SAFETY: the list ends with a null, where this loop ends.
            let entry = unsafe { *entries.add(index) };
            if entry.is_null() {
                return;
            }
            // SAFETY: a C string of the environment.
            self.take(unsafe { CStr::from_ptr(entry) }.to_bytes());
        }
    }

    /// Reads `/proc/self/environ` in pieces. A variable of ours that is longer than the
    /// buffer has no valid value.
    fn read_from_proc(&mut self) {
        let mut buffer = [0_u8; ENTRY_BYTES_MAX];
        let mut filled = 0;
        // System calls as such: a library that wraps the functions may allocate, or not be ready.
        let name = c"/proc/self/environ".as_ptr();
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        // SAFETY: the name is a C string.
        let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, name, flags) };
        if fd < 0 {
            return;
        }
        loop {
            let room = &mut buffer[filled..];
            // SAFETY: `room` has that length.
            let read = unsafe { libc::syscall(libc::SYS_read, fd, room.as_mut_ptr(), room.len()) };
            if read <= 0 {
                break;
            }
            filled += read as usize;
            let mut start = 0;
            while let Some(len) = buffer[start..filled].iter().position(|&byte| byte == 0) {
                self.take(&buffer[start..start + len]);
                start += len + 1;
            }
            if start == 0 && filled == buffer.len() {
                // Longer than the buffer: its rest is read as an entry of its own, which names
                // nothing.
                start = filled;
            }
            buffer.copy_within(start..filled, 0);
            filled -= start;
        }
        // SAFETY: opened above.
        unsafe { libc::syscall(libc::SYS_close, fd) };
    }

    /// Applies one entry of the environment.
    fn take(&mut self, entry: &[u8]) {
        let Some(entry) = entry.strip_prefix(b"EVENFIT_") else {
            return;
        };
        let Some(at) = entry.iter().position(|&byte| byte == b'=') else {
            return;
        };
        let (name, value) = (&entry[..at], &entry[at + 1..]);
        match name {
            b"RECORD" => self.records = !value.is_empty(),
            b"POOL" => match parse_size(value) {
                Some(bytes) => self.pool_bytes = bytes,
                None => refuse_to_start!(
                    "EVENFIT_POOL={} is no size: say 4096, 64k, 512MiB or 1GiB",
                    Shown(value)
                ),
            },
            b"LOCK_MEMORY" => self.lock_memory = is_yes("EVENFIT_LOCK_MEMORY", value),
            b"MISUSE" => match value {
                b"abort" | b"" => self.ignore_misuse = false,
                b"ignore" => self.ignore_misuse = true,
                _ => refuse_to_start!("EVENFIT_MISUSE={}: say abort or ignore", Shown(value)),
            },
            b"TOP" => self.is_open = is_yes("EVENFIT_TOP", value),
            b"SUMMARY" => match value {
                b"" | b"stderr" => self.summary = Summary::Stderr,
                b"none" => self.summary = Summary::Nowhere,
                _ => refuse_to_start!(
                    "EVENFIT_SUMMARY={}: say stderr or none; `evenfit run --summary FILE` writes one to a file",
                    Shown(value)
                ),
            },
            b"SESSION" if value.len() < SESSION_NAME_BYTES => {
                self.session[..value.len()].copy_from_slice(value);
            }
            _ => {}
        }
    }

    pub fn session(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.session).unwrap_or_default()
    }
}

fn is_yes(name: &str, value: &[u8]) -> bool {
    match value {
        b"1" | b"yes" | b"true" => true,
        b"" | b"0" | b"no" | b"false" => false,
        _ => refuse_to_start!("{name}={}: say 1 or 0", Shown(value)),
    }
}

/// Bytes in `4096`, `64k`, `512MiB`, `1GiB`; whole numbers only, powers of 1024.
fn parse_size(text: &[u8]) -> Option<usize> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = text.split_at(digits);
    let number: usize = core::str::from_utf8(number).ok()?.parse().ok()?;
    let shift = match unit {
        b"" | b"B" => 0,
        b"k" | b"K" | b"KiB" => 10,
        b"m" | b"M" | b"MiB" => 20,
        b"g" | b"G" | b"GiB" => 30,
        _ => return None,
    };
    number.checked_mul(1 << shift).filter(|&bytes| bytes > 0 && bytes <= isize::MAX as usize)
}

/// A value of the environment in a printable form.
struct Shown<'a>(&'a [u8]);

impl core::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let shown = &self.0[..self.0.len().min(60)];
        for chunk in shown.utf8_chunks() {
            f.write_str(chunk.valid())?;
        }
        Ok(())
    }
}

/// The name of the running program, as the C library keeps it; empty before it does.
pub fn program_name() -> &'static CStr {
    unsafe extern "C" {
        static program_invocation_short_name: *const c_char;
    }
    // SAFETY: null or a C string that lives as long as the program.
    unsafe {
        if program_invocation_short_name.is_null() {
            c""
        } else {
            CStr::from_ptr(program_invocation_short_name)
        }
    }
}
