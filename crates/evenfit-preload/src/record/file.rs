//! The file that a process records into, opened when there is something to write.

use core::ffi::{CStr, c_char};

/// Longest name of a file.
const PATH_BYTES_MAX: usize = 4096;
/// Length of the file header, which waits for the first chunk.
const HEADER_BYTES: usize = evenfit_trace::format::HEADER_BYTES;

/// Where the bytes go.
pub(crate) struct File {
    fd: libc::c_int,
    header: [u8; HEADER_BYTES],
    /// Whether a file could not be opened or written: nothing more is tried.
    failed: bool,
}

impl File {
    pub(crate) const fn new() -> Self {
        Self { fd: -1, header: [0; HEADER_BYTES], failed: false }
    }

    /// Forgets the file, as in a child of `fork`, which has one of its own.
    pub(crate) fn forget(&mut self) {
        if self.fd >= 0 {
            // SAFETY: the descriptor is this process's copy.
            unsafe { libc::close(self.fd) };
        }
        *self = Self::new();
    }

    /// Takes the header or writes a chunk.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        if self.failed {
            return;
        }
        if self.fd < 0 && bytes.len() == HEADER_BYTES && bytes[..8] == evenfit_trace::format::MAGIC
        {
            self.header.copy_from_slice(bytes);
            return;
        }
        if self.fd < 0 {
            self.fd = open();
            let header = self.header;
            self.write(&header);
        }
        self.write(bytes);
    }

    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.failed {
            // SAFETY: the bytes are live.
            let written = unsafe { libc::write(self.fd, bytes.as_ptr().cast(), bytes.len()) };
            match usize::try_from(written) {
                Ok(written) => bytes = &bytes[written.min(bytes.len())..],
                // SAFETY: errno is this thread's.
                Err(_) if unsafe { *libc::__errno_location() } == libc::EINTR => {}
                Err(_) => self.failed = true,
            }
        }
    }
}

/// The file's name as the environment says.
pub(crate) fn wanted() -> Option<&'static CStr> {
    // SAFETY: the name is a C string; the answer stays where it is while nobody changes the
    // environment, and is read at once.
    unsafe {
        let value = libc::getenv(c"EVENFIT_RECORD".as_ptr());
        (!value.is_null() && *value != 0).then(|| CStr::from_ptr(value))
    }
}

/// Creates the file, or one of this process's own where it exists; -1 if neither can be.
fn open() -> libc::c_int {
    let Some(path) = wanted() else { return -1 };
    let create = |path: *const c_char| {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
        // SAFETY: the path is a C string.
        unsafe { libc::open(path, flags, 0o644) }
    };
    let fd = create(path.as_ptr());
    if fd >= 0 {
        return fd;
    }
    // A program that runs another in its place keeps its process id: a second try has another
    // number.
    for attempt in 0..100 {
        let own = own_path(path.to_bytes(), attempt);
        let fd = create(own.as_ptr().cast());
        if fd >= 0 {
            return fd;
        }
    }
    -1
}

/// `app.evt` with the process id in it: `app.4711.evt`.
fn own_path(path: &[u8], attempt: u32) -> [u8; PATH_BYTES_MAX] {
    let stem = path.strip_suffix(b".evt").unwrap_or(path);
    let mut out = [0; PATH_BYTES_MAX];
    let mut len = 0;
    // The last byte stays 0.
    let mut put = |bytes: &[u8]| {
        let room = bytes.len().min(PATH_BYTES_MAX - 1 - len);
        out[len..len + room].copy_from_slice(&bytes[..room]);
        len += room;
    };
    put(stem);
    put(b".");
    // SAFETY: takes nothing and can't fail.
    put(decimal(unsafe { libc::getpid() } as u32, &mut [0; 10]));
    if attempt > 0 {
        put(b"-");
        put(decimal(attempt, &mut [0; 10]));
    }
    put(b".evt");
    out
}

fn decimal(mut value: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return &digits[at..];
        }
    }
}
