//! Writing without allocating.

use core::fmt;

/// A text of at most `N` bytes; the rest is cut off.
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

    /// Writes it to a file descriptor in one call, so that lines of several processes don't mix.
    pub fn write_to(&self, fd: libc::c_int) {
        // SAFETY: the buffer is live and `len` of its bytes are written.
        unsafe { libc::write(fd, self.bytes.as_ptr().cast(), self.len) };
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
        $crate::out::line!("evenfit: {}\n", format_args!($($part)*)).write_to(2);
        $crate::process::leave(2)
    }};
}
pub(crate) use refuse_to_start;
